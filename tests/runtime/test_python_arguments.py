"""Python arguments of the wrong kind: everywhere one SalaError, and nothing is left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.engine.limits import Limits
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.model import Model, generation_options

IDS = [3, 5, 8]
BIG = 10**6000
NOT_IDS = [
    *(None, 5, 1.5, True, "abc", b"abc", object(), {}, {1: 2}, {1, 2}, [], ()),
    *([[1, 2]], [[1], [1, 2]]),
    *(
        [1.0],
        [1.5],
        [True],
        [1, True],
        [np.True_],
        ["1"],
        [None],
        [[]],
        [-1],
        [29],
        [2**70],
        [-BIG],
    ),
    *([2**63, -1], np.array([1.0]), np.array([True]), np.array([[1]]), np.array(1), np.zeros(0)),
    *(np.array([2**63], np.uint64), np.array(["1"]), np.array([None]), iter(()), [1] * 65),
]
ODD = [None, "hot", -1, 1.5, float("nan"), float("inf"), True, [], {}, object(), BIG, -BIG, b"x"]


@pytest.fixture(scope="module")
def model(handmade: Path):
    with sala_compile.load(handmade, batch=2, sequences=3, snapshots=1, threads=1) as loaded:
        yield loaded


def _is_unused(model: Model) -> bool:
    return model.info()["sequences"]["used"] == 0


def _refused(call: Callable[[], Any]) -> None:
    with pytest.raises(SalaError) as caught:
        call()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("ids", NOT_IDS, ids=lambda value: type(value).__name__)
def test_what_is_no_list_of_tokens_is_refused(model: Model, ids: Any):
    _refused(lambda: Limits(29, 64, 64, 8).checked_tokens(ids, 0))
    _refused(lambda: model.logits(ids))
    if not isinstance(ids, str):
        _refused(lambda: model.generate(ids, 1))
    with model.sequence() as sequence:
        _refused(lambda: sequence.append(ids))
        assert len(sequence) == 0
        sequence.append(IDS)
        _refused(lambda: sequence.append(ids))
    assert _is_unused(model)


@pytest.mark.parametrize(
    "ids",
    [(3, 5, 8), np.array(IDS, np.uint8), np.array(IDS), range(3, 4), iter(IDS), [np.int16(3), 5]],
    ids=lambda value: type(value).__name__,
)
def test_lists_arrays_and_iterators_are_taken(model: Model, ids: Any):
    assert len(model.generate(ids, 2, ignore_eos=True)) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "stop"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "ignore_eos", "max_new_tokens"),
    ],
)
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_options_are_taken_or_refused(name: str, value: Any):
    try:
        generation_options(**{name: value})
    except SalaError as refusal:
        assert f"{name} is" in str(refusal) or name == "stop"  # noqa: PT017
    else:
        assert _is_legal(name, value)


def _is_legal(name: str, value: Any) -> bool:
    """Whether one of the odd values is a good one for an option."""
    if name in ("stop", "logit_bias"):
        return value is None or value == [] or value == ("hot" if name == "stop" else {})
    legal = {"ignore_eos": [True], "seed": [BIG], "top_k": [BIG], "max_new_tokens": [BIG]}
    legal |= {"temperature": [1.5], "repetition_penalty": [1.5]}
    penalties = ("presence_penalty", "frequency_penalty")
    return any(value is good or value == good for good in legal.get(name, [-1, 1.5])) and (
        name in legal or name in penalties
    )


def test_no_stop_string_is_none():
    for none in (None, (), []):
        assert generation_options(stop=none).stop == ()
    assert generation_options(stop="x").stop == ("x",)
    assert generation_options(stop=iter(["x", "y"])).stop == ("x", "y")
    for wrong in (5, "", [""], [None], ["x", 5], b"x", [b"x"], {"x": 1}, object()):
        _refused(lambda wrong=wrong: generation_options(stop=wrong))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("path", [None, 5, b"x", "", "a\0b", object(), "/dev/null", "/nonexistent"]),
        ("context", ["8 gigs", 0, -1, 1.5, True, [], object(), "9" * 5000, BIG]),
        ("memory", ["8 gigs", 0, -1, 1.5, True, [], object(), "9" * 5000]),
        ("prefix_cache", ["8 gigs", 0, -1, 1.5, True, [], object()]),
        ("snapshot_every", ["x", 0, 7, [], 16]),
        ("batch", [0, -1, 1.5, True, "2", [], object(), -BIG]),
        ("sequences", [0, -1, 1.5, True, "2", [], object(), -BIG]),
        ("threads", [0, -1, 1.5, True, "2", [], object(), BIG, -BIG]),
        ("chunk", [0, -1, 1.5, True, "2", [], object(), -BIG]),
        ("snapshots", [None, -1, 1.5, True, "2", [], object(), -BIG, np.zeros(2)]),
        ("device", [5, "gpu", b"cpu", [], object()]),
        ("target", [5, "gpu", b"cpu", [], object()]),
        ("tuning", [5, b"x", "", object()]),
        ("progress", [5, "x", []]),
        ("poison", ["yes", 5, []]),
        ("hash_weights", ["yes", 5, []]),
    ],
)
def test_load_refuses_other_kinds(handmade: Path, name: str, values: list[Any]):
    for value in values:
        _refused(lambda value=value: sala_compile.load(**({"path": handmade} | {name: value})))


def test_methods_refuse_other_kinds(model: Model, handmade: Path, tmp_path: Path):
    other = sala_compile.load(handmade, threads=1)
    with other, other.sequence() as foreign, model.sequence() as sequence:
        sequence.append(IDS)
        foreign.append(IDS)
        calls: list[Callable[[], Any]] = [
            lambda: model.logits(IDS, chunk="x"),  # type: ignore
            lambda: model.logits(IDS, chunk=-BIG),
            lambda: model.logits(IDS, observe="hidden"),
            lambda: model.logits(IDS, observe=5),  # type: ignore
            lambda: model.logits(IDS, observe=[5]),  # type: ignore
            lambda: model.restore(5),  # type: ignore
            lambda: model.restore("a\0b"),
            lambda: model.restore(tmp_path),
            lambda: model.decode(sequence, [1]),  # type: ignore
            lambda: model.decode(None, [1]),  # type: ignore
            lambda: model.decode([None], [1]),  # type: ignore
            lambda: model.decode([foreign], [1]),
            lambda: model.decode([sequence], 1),  # type: ignore
            lambda: model.decode([sequence], [[1]]),  # type: ignore
            lambda: model.decode([sequence], [True]),
            lambda: model.decode([sequence], [1.0]),  # type: ignore
            lambda: model.generate(IDS, "x"),  # type: ignore
            lambda: model.generate(IDS, 1, heat=2),
            lambda: list(model.stream(None)),  # type: ignore
            lambda: list(model.stream(b"text")),  # type: ignore
            lambda: list(model.stream("")),
            lambda: model.generation(IDS, None).__enter__(),  # type: ignore
            lambda: model.generation(IDS, GenerationOptions(), progress=5).__enter__(),  # type: ignore
            lambda: model.generation(IDS, GenerationOptions(), sequence=foreign).__enter__(),
            lambda: model.generation(IDS, GenerationOptions(), sequence=5).__enter__(),  # type: ignore
            lambda: model.generation(None, GenerationOptions(), sequence=sequence).__enter__(),  # type: ignore
            lambda: GenerationOptions(sampling=None),  # type: ignore
            lambda: GenerationOptions(eos=("x",)),  # type: ignore
            lambda: GenerationOptions(eos=None),  # type: ignore
            lambda: sequence.append(IDS, progress=5),  # type: ignore
            lambda: sequence.truncate("x"),  # type: ignore
            lambda: sequence.truncate(1.0),  # type: ignore
            lambda: sequence.truncate(-1),
            lambda: sequence.truncate(True),
            lambda: sequence.save(5),  # type: ignore
            lambda: sequence.save(""),
        ]
        for call in calls:
            _refused(call)
        assert sequence.token_ids == IDS
        assert sequence.append([1]).shape == (29,)
    assert _is_unused(model)
