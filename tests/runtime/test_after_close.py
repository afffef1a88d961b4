"""What is asked of a model and its sequences after it was closed: told, or one error."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence
from tests.support.emulated_gpu import emulated_gpu

MODEL: dict[str, Callable[[Model], Any]] = {
    "logits": lambda model: model.logits([1, 2]),
    "observe": lambda model: model.logits([1, 2], observe=("hidden",)),
    "sequence": lambda model: model.sequence(),
    "restore": lambda model: model.restore("nothing"),
    "decode": lambda model: model.decode([], []),
    "generate": lambda model: model.generate([1, 2]),
    "info": lambda model: model.info(),
    "wrapped": lambda model: model.wrapped(lambda program: program).__enter__(),
}
SEQUENCE: dict[str, Callable[[TokenSequence], Any]] = {
    "token_ids": lambda sequence: sequence.token_ids,
    "last_logits": lambda sequence: sequence.last_logits,
    "append": lambda sequence: sequence.append([1]),
    "fork": lambda sequence: sequence.fork(),
    "snapshot": lambda sequence: sequence.snapshot(),
    "snapshots": lambda sequence: sequence.snapshots(),
    "truncate": lambda sequence: sequence.truncate(0),
    "truncate to the end": lambda sequence: sequence.truncate(3),
    "save": lambda sequence: sequence.save("/nonexistent/x"),
}


@pytest.fixture(params=["cpu", "cuda"])
def model(request: pytest.FixtureRequest, handmade_gpu: Path) -> Iterator[Model]:
    """A model on a processor, and on a GPU that is emulated."""
    options: dict[str, Any] = {"batch": 2, "sequences": 3, "snapshots": 2, "poison": False}
    with ExitStack() as stack:
        if request.param == "cuda":
            stack.enter_context(emulated_gpu())
        options["device"] = request.param
        yield stack.enter_context(sala_compile.load(handmade_gpu, **options))


def _held(model: Model) -> TokenSequence:
    sequence = model.sequence()
    sequence.append([5, 4, 3])
    return sequence


@pytest.mark.parametrize("name", MODEL)
def test_a_closed_model_says_so(model: Model, name: str) -> None:
    model.close()
    with pytest.raises(RequestError, match="the model is closed"):
        MODEL[name](model)
    model.close()
    assert model.vocabulary == 29
    assert model.context == model.plan.sizes.context


@pytest.mark.parametrize("name", SEQUENCE)
def test_a_sequence_of_a_closed_model_says_so(model: Model, name: str) -> None:
    sequence = _held(model)
    model.close()
    with pytest.raises(RequestError, match="the model is closed"):
        SEQUENCE[name](sequence)
    assert len(sequence) == 3
    sequence.close()
    sequence.close()
    with pytest.raises(RequestError, match="closed"):
        SEQUENCE[name](sequence)


def test_a_generator_that_was_left_open_ends_in_the_error(model: Model) -> None:
    """Whatever was on its way to the host; and closing it does nothing more."""
    for count in (1, 2, 3):
        with sala_compile.load(model.artifact.directory, device=_device(model)) as other:
            options = other.generation_options(max_new_tokens=6, ignore_eos=True)
            with other.generation([1, 2], options) as generation:
                tokens = generation.tokens()
                for _ in range(count):
                    assert 0 <= next(tokens) < other.vocabulary
                other.close()
                found = []
                with pytest.raises(RequestError, match="the model is closed"):
                    found.extend(tokens)
                assert all(0 <= token < other.vocabulary for token in found)


def _device(model: Model) -> str:
    return "cuda" if model.info()["target"].startswith("cuda") else "cpu"


def test_a_model_that_works_is_not_closed(model: Model) -> None:
    """From within a call, between two chunks: the call ends in the error."""
    sequence = model.sequence()

    def close(done: int) -> None:
        model.close()

    with pytest.raises(RequestError, match="the model is closed"):
        sequence.append(list(range(20)), progress=close)
    with pytest.raises(RequestError):
        _ = sequence.token_ids


def test_many_threads_close_a_model_once(model: Model) -> None:
    sequence, found = _held(model), []
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait()
        try:
            if number % 2:
                model.close()
            else:
                for _ in range(50):
                    assert sequence.token_ids == [5, 4, 3]
                    assert np.isfinite(sequence.last_logits).all()
        except RequestError as error:
            found.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("the model is closed" in text or "another thread" in text for text in found)
    model.close()
    with pytest.raises(RequestError, match="the model is closed"):
        model.sequence()
