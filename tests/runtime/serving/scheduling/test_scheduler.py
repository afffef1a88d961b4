"""The scheduler: what jobs get, in which order, and what is left when they end."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.check_job import check_job
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.event import End, PromptRead
from tests.support.sequences import assert_unused, spoiled
from tests.support.served_jobs import job, run


@pytest.fixture
def model(handmade: Path) -> Iterator[Model]:
    with sala_compile.load(handmade, threads=1, batch=4) as loaded:
        yield loaded
        assert_unused(loaded)


@pytest.fixture
def scheduler(model: Model) -> Scheduler:
    return Scheduler(model.engine)


def test_an_answer_is_that_of_the_model(model: Model, scheduler: Scheduler):
    prompts = [list(range(1, 4 + n)) for n in range(9)]
    jobs = [job(prompt, 6) for prompt in prompts]
    run(scheduler, *(each for each, _ in jobs))
    for prompt, (_, told) in zip(prompts, jobs, strict=True):
        assert told.tokens == model.generate(prompt, 6, ignore_eos=True)
        assert told.end is End.LENGTH


def test_an_end_token_ends_and_is_told(model: Model, scheduler: Scheduler):
    expected = model.generate([5, 4], 6, ignore_eos=True)
    one, told = job([5, 4], 6, ends=frozenset(expected[2:3]))
    run(scheduler, one)
    assert told.tokens == expected[: expected.index(expected[2]) + 1]
    assert told.end is End.END_TOKEN


def test_the_context_ends_an_answer(model: Model, scheduler: Scheduler):
    one, told = job(np.ones(model.context - 2, int), 100)
    run(scheduler, one)
    assert len(told.tokens) == 3
    assert told.end is End.CONTEXT


def test_a_prompt_is_read_for_its_likelihoods_alone(scheduler: Scheduler):
    one, told = job(range(1, 20), 0, prompt_logprobs=True, logprobs=1)
    run(scheduler, one)
    assert told.end is End.LENGTH
    assert told.tokens == []
    assert len(told.of_prompt) == 19
    assert told.of_prompt[0] is None


def test_each_part_of_a_prompt_comes_with_its_own_likelihoods(handmade: Path):
    """As many as tokens, however the prompt is divided, and for those who follow as well."""
    with sala_compile.load(handmade, threads=1, batch=2, chunk=8) as model:
        jobs = [job(range(1, 28), 2, prompt_logprobs=True, logprobs=1) for _ in range(2)]
        run(Scheduler(model.engine), *(one for one, _ in jobs))
    for _, told in jobs:
        parts = [each for each in told.events if isinstance(each, PromptRead)]
        ends = [0, *(part.tokens for part in parts)]
        assert ends[-1] == 27
        assert [len(part.likelihoods) for part in parts] == np.diff(ends).tolist()
    assert jobs[0][1].of_prompt == jobs[1][1].of_prompt
    assert len([each for each in jobs[0][1].events if isinstance(each, PromptRead)]) > 2


def test_what_can_never_run_is_refused(model: Model, scheduler: Scheduler):
    for prompt in ([], [29], [1] * (model.context + 1)):
        with pytest.raises(RequestError):
            check_job(scheduler.engine, job(prompt)[0])
    with pytest.raises(RequestError):
        check_job(scheduler.engine, job([1], -1)[0])


def test_a_cancelled_job_gives_everything_back_in_the_next_turn(model, scheduler: Scheduler):
    reading, told_reading = job(range(1, 20), 5)
    answering, told_answering = job([1, 2], 30)
    waiting = [job([1, 2], 5) for _ in range(4)]
    run(scheduler, reading, answering, *(one for one, _ in waiting), until=lambda: True)
    scheduler.turn()
    for one in (reading, answering, *(one for one, _ in waiting)):
        one.cancel()
    scheduler.turn()
    assert not scheduler.busy
    ends = [told.end for told in (told_reading, told_answering, *(told for _, told in waiting))]
    assert ends == [End.CANCELLED] * 6


def test_a_late_job_ends(model: Model):
    now = [0.0]
    scheduler = Scheduler(model.engine, clock=lambda: now[0])
    one, told = job([1, 2], 30, deadline=5.0)
    run(scheduler, one, until=lambda: bool(told.tokens))
    now[0] = 5.0
    scheduler.turn()
    assert told.end is End.DEADLINE


def test_a_sink_that_raises_ends_its_job_alone(model: Model, scheduler: Scheduler):
    def broken(events: object) -> None:
        raise ValueError("no listener")

    wrong, _ = job([1, 2], 30)
    wrong.sink = broken
    one, told = job([3, 4], 8)
    run(scheduler, wrong, one)
    assert told.tokens == model.generate([3, 4], 8, ignore_eos=True)


def test_a_logit_that_is_no_number_ends_its_job_alone(model: Model, scheduler: Scheduler):
    wrong, told_wrong = job([1, 2], 30)
    one, told = job([3, 4], 8)
    run(scheduler, wrong, one, until=lambda: bool(told.tokens))
    with spoiled(model, 0):
        scheduler.turn()
    run(scheduler)
    assert told_wrong.end is End.FAILED
    assert told_wrong.last.error is not None
    assert told.tokens == model.generate([3, 4], 8, ignore_eos=True)
