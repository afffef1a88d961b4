"""A job whose prompt goes on from a running answer begins as a fork of it, at any length."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.likelihoods import likelihood
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.event import End, Likelihood
from sala_compile.runtime.serving.work.job import Reuse
from tests.runtime.conftest import Compiled
from tests.support.sequences import assert_unused, text
from tests.support.served_jobs import Told, job, run

ANSWERED = 14
"""Tokens of the first answer when the second prompt goes on from it."""


@pytest.fixture
def model(compiled: Compiled) -> Iterator[Model]:
    """One that keeps no prefixes: all that is known of a prompt is a running answer."""
    with sala_compile.load(compiled("float32"), context=320, batch=2, threads=1) as loaded:
        yield loaded
        assert_unused(loaded)


def _talk(
    model: Model, prompt: np.ndarray, answer: list[int], rest: np.ndarray, count: int
) -> tuple[list[int], list[Likelihood]]:
    """What a conversation that nobody interrupts gives: tokens and likelihoods after `rest`."""
    tokens: list[int] = []
    found: list[Likelihood] = []
    with model.sequence() as sequence:
        sequence.append(prompt)
        for token in answer:
            model.decode([sequence], [token])
        logits = sequence.append(rest)
        while len(tokens) < count:
            row = np.asarray(logits).reshape(-1, model.vocabulary)[-1]
            tokens.append(int(row.argmax()))
            found.append(likelihood(row, tokens[-1], 2))
            logits = model.decode([sequence], tokens[-1:])
    return tokens, found


def test_a_fork_in_the_middle_of_a_page_continues_the_conversation(model: Model):
    scheduler = Scheduler(model.engine)
    first, told = job(text(model, 100), 60, logprobs=2)
    run(scheduler, first, until=lambda: len(told.tokens) == ANSWERED)
    known = 100 + ANSWERED - 1  # the newest token is chosen, and not appended
    assert known % model.engine.store.page_tokens
    rest = np.array([told.tokens[-1], 3, 1, 4], np.int32)
    prompt = np.concatenate([first.prompt, np.array(told.tokens[:-1], np.int32), rest])
    second, forked = job(prompt, 20, logprobs=2)
    run(scheduler, second)
    assert forked.cached == known
    tokens, likelihoods = _talk(model, first.prompt, told.tokens[: ANSWERED - 1], rest, 20)
    assert forked.tokens == tokens
    assert forked.likelihoods == likelihoods
    alone = Told()
    run(Scheduler(model.engine), replace(first, sink=alone))
    assert (told.end, told.likelihoods) == (End.LENGTH, alone.likelihoods)


@pytest.mark.parametrize("reuse", [Reuse.READ, Reuse.NONE])
def test_who_wants_what_was_read_gets_no_fork_of_an_answer(model: Model, reuse: Reuse):
    scheduler = Scheduler(model.engine)
    first, told = job(text(model, 100), 60)
    run(scheduler, first, until=lambda: len(told.tokens) == ANSWERED)
    prompt = np.concatenate([first.prompt, np.array([*told.tokens, 5], np.int32)])
    second, read = job(prompt, 4, reuse=reuse, logprobs=1)
    run(scheduler, second)
    assert read.cached == 0
    alone = Told()
    run(Scheduler(model.engine), replace(second, sink=alone))
    assert read.likelihoods == alone.likelihoods


def test_an_answer_that_ends_takes_nothing_from_its_fork(model: Model):
    """Pages that both have stay with the fork when the other one is cancelled."""
    scheduler = Scheduler(model.engine)
    first, told = job(text(model, 100), 60)
    run(scheduler, first, until=lambda: len(told.tokens) == ANSWERED)
    prompt = np.concatenate([first.prompt, np.array([*told.tokens, 5], np.int32)])
    second, forked = job(prompt, 20, logprobs=1)
    run(scheduler, second, until=lambda: bool(forked.tokens))
    assert forked.cached == 100 + ANSWERED - 1
    first.cancel()
    run(scheduler)
    tokens, likelihoods = _talk(
        model, first.prompt, told.tokens[: ANSWERED - 1], prompt[forked.cached :], 20
    )
    assert forked.tokens == tokens
    assert [each.logprob for each in forked.likelihoods] == [each.logprob for each in likelihoods]
