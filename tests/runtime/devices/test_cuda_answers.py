"""Answers on an emulated GPU, whose next step begins before the host has seen its token."""

from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.generation.generation import Finish, GenerationOptions
from sala_compile.runtime.model import Model
from tests.support.emulated_gpu import EmulatedDriver
from tests.support.handmade import expected_logits
from tests.support.sequences import assert_unused

IDS = [5, 4, 8, 2, 1, 7, 7, 3, 9, 11, 2]


def test_the_host_is_a_step_behind(model: Model, drivers: list[EmulatedDriver]):
    log = drivers[0].log
    with model.generation(IDS, GenerationOptions(ignore_eos=True, max_new_tokens=5)) as answer:
        tokens = answer.tokens()
        next(tokens)
        for _ in range(3):
            log.clear()
            next(tokens)
        # A step of three graphs is queued, and its token asked for, before the one is awaited.
        assert [name for name in log if name in ("graph", "copy_out")] == [
            *["graph"] * 3,
            "copy_out",
        ]
        assert "wait" in log[log.index("copy_out") :]
        log.clear()
        next(tokens)
        assert "graph" not in log, "nothing is computed behind the last token"
        assert answer.finish is Finish.MAX_TOKENS
    assert_unused(model)


def test_answers_that_take_turns_do_not_mix(model: Model):
    wanted = [model.generate(ids, 5, ignore_eos=True) for ids in (IDS, [7, 7])]
    options = GenerationOptions(ignore_eos=True, max_new_tokens=5)
    with model.generation(IDS, options) as one, model.generation([7, 7], options) as two:
        found = list(zip(one.tokens(), two.tokens(), strict=True))
    assert [list(tokens) for tokens in zip(*found, strict=True)] == wanted


def test_an_answer_that_ends_early_leaves_a_sequence_of_all_its_tokens(model: Model):
    every = model.generate(IDS, 8, ignore_eos=True)
    stop = every[3]
    with model.sequence() as sequence:
        options = GenerationOptions(eos=(stop,), max_new_tokens=8)
        with model.generation(IDS, options, sequence=sequence, ahead=True) as answer:
            assert list(answer.tokens()) == every[: every.index(stop) + 1]
            assert answer.finish is Finish.END_OF_SEQUENCE
        text = [*IDS, *answer.token_ids]
        assert sequence.token_ids == text, "the last token was fed before it was known"
        np.testing.assert_array_equal(sequence.last_logits, expected_logits(text)[-1])
        np.testing.assert_array_equal(sequence.append([1]), expected_logits([*text, 1])[-1])
    with model.sequence() as kept:
        with model.generation(IDS, options, sequence=kept) as answer:
            found = list(answer.tokens())
        assert kept.token_ids == [*IDS, *found[:-1]], "not spent: exactly what was taken"
        kept.append([found[-1]])


def test_answers_end_with_the_context_and_the_pages(
    handmade_gpu: Path, drivers: list[EmulatedDriver]
):
    with sala_compile.load(handmade_gpu, device="cuda", context=16, sequences=2) as model:
        with model.generation(IDS, GenerationOptions(ignore_eos=True)) as answer:
            assert len(list(answer.tokens())) == 6
        assert answer.finish is Finish.CONTEXT
        with sala_compile.load(handmade_gpu, device="cpu", context=16) as cpu:
            wanted = cpu.generate(IDS, 256, ignore_eos=True)
        assert answer.token_ids == wanted
        with model.sequence() as other:
            other.append([1, 2])
            with (
                pytest.raises(MemoryBudgetError, match="KV pages are needed"),
                model.generation(IDS, GenerationOptions(ignore_eos=True)) as answer,
            ):
                list(answer.tokens())
            assert answer.token_ids == wanted[:2], "12 tokens fill the pages that are left"
