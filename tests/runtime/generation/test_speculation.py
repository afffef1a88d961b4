"""Answers of a model that speculates: those of one that does not, whatever is drafted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation import generation as generation_module
from sala_compile.runtime.generation.generation import Generation
from sala_compile.runtime.model import Model
from tests.support.sequences import assert_unused

PERIOD = 7
"""The prompts repeat themselves every so many tokens, so that drafts are there from the start."""
OPTIONS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 0.7, "top_k": 3, "seed": 5},
    {"temperature": 0.0, "repetition_penalty": 1.3, "frequency_penalty": 0.2},
)


@pytest.fixture(scope="module")
def models(compiled) -> Iterator[tuple[Model, Model]]:
    """A model that drafts up to six tokens in a step, and one that drafts none."""
    path: Path = compiled("bfloat16")
    with (
        sala_compile.load(path, context=300, sequences=2, speculate=6, snapshots=1) as drafting,
        sala_compile.load(path, context=300, sequences=2) as plain,
    ):
        yield drafting, plain
        assert_unused(drafting)


def _answer(
    model: Model, prompt: list[int], options: dict[str, Any]
) -> tuple[list[int], Generation, list[int], np.ndarray]:
    """The tokens of an answer, how it went, and what its sequence holds at the end."""
    wanted = model.generation_options(80, ignore_eos=True, **options)
    with (
        model.sequence() as sequence,
        model.generation(prompt, wanted, sequence=sequence) as generation,
    ):
        tokens = list(generation.tokens())
        return tokens, generation, sequence.token_ids, sequence.append([1])


@pytest.mark.parametrize("options", OPTIONS, ids=["greedy", "drawn", "penalised"])
@pytest.mark.parametrize("length", [5, 40, 100])
def test_answers_are_those_without_drafts(
    models: tuple[Model, Model], length: int, options: dict[str, Any]
):
    """Over page boundaries, and from dense to sparse attention at 64 tokens."""
    drafting, plain = models
    prompt = [2 + number % PERIOD for number in range(length)]
    tokens, generation, held, after = _answer(drafting, prompt, options)
    expected, _, held_plainly, after_plainly = _answer(plain, prompt, options)
    assert tokens == expected == generation.token_ids
    assert held == held_plainly
    np.testing.assert_array_equal(after, after_plainly)


class Knowing:
    """Drafts what a model is going to say, with a wrong token here and there."""

    def __init__(self, answer: list[int], wrong: int, vocabulary: int) -> None:
        self.answer, self.wrong, self.vocabulary, self.begin = answer, wrong, vocabulary, 1

    def draft(self, most: int, slope: float, step_seconds: float) -> list[int]:
        places = range(self.begin, min(self.begin + most, len(self.answer)))
        return [(self.answer[at] + (at % self.wrong == 0)) % self.vocabulary for at in places]

    def observe(self, chosen: list[int]) -> None:
        self.begin += len(chosen)


@pytest.mark.parametrize("wrong", [1, 2, 5, 1000])
@pytest.mark.parametrize("options", OPTIONS, ids=["greedy", "drawn", "penalised"])
def test_what_is_right_of_a_draft_remains(
    models: tuple[Model, Model],
    options: dict[str, Any],
    wrong: int,
    monkeypatch: pytest.MonkeyPatch,
):
    """None, some or all of the drafted tokens of each step."""
    drafting, plain = models
    prompt = [3, 1, 4, 1, 5, 9, 2, 6]
    expected, _, held_plainly, after_plainly = _answer(plain, prompt, options)
    knowing = Knowing(expected, wrong, plain.vocabulary)
    monkeypatch.setattr(generation_module, "Speculation", lambda *_: knowing)
    tokens, generation, held, after = _answer(drafting, prompt, options)
    assert tokens == expected
    assert held == held_plainly
    np.testing.assert_array_equal(after, after_plainly)
    assert generation.drafted_tokens > 60
    if wrong == 1000:
        assert generation.accepted_tokens == generation.drafted_tokens
    else:
        assert generation.accepted_tokens <= generation.drafted_tokens * (1 - 1 / wrong)


def test_state_after_drafts_can_be_forked_and_saved(models: tuple[Model, Model], tmp_path: Path):
    drafting, plain = models
    prompt = [2 + number % PERIOD for number in range(50)]
    wanted = drafting.generation_options(30, ignore_eos=True, temperature=0.0)
    with (
        drafting.sequence() as sequence,
        drafting.generation(prompt, wanted, sequence=sequence) as generation,
    ):
        for number, _ in enumerate(generation.tokens()):
            if number == 12:  # in the middle of an answer, perhaps of a step's tokens
                break
        held = sequence.token_ids
        sequence.save(tmp_path / "state")
        with sequence.fork() as copy, plain.restore(tmp_path / "state") as restored:
            assert copy.token_ids == restored.token_ids == held
            after = [each.append([5, 6], generated=True) for each in (sequence, copy, restored)]
    np.testing.assert_array_equal(after[0], after[1])
    np.testing.assert_array_equal(after[0], after[2])


def test_more_drafts_than_planned_are_refused(models: tuple[Model, Model]):
    drafting, plain = models
    for model, count in ((drafting, 8), (plain, 2)):
        with model.sequence() as sequence:
            sequence.append([1, 2, 3])
            with pytest.raises(RequestError, match="speculate"):
                sequence.verify([4] * count, lambda _: 4, lambda: False)
            assert sequence.token_ids == [1, 2, 3]
