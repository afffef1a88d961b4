"""Whose turn it is, and how long answers wait for those that read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.fair_queue import FairQueue, Shares
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.scheduling.stall_target import StallTarget
from sala_compile.runtime.serving.work.event import TokenChosen
from tests.support.served_jobs import Told, job, run


@pytest.fixture
def model(handmade: Path) -> Iterator[Model]:
    with sala_compile.load(handmade, threads=1, batch=2, chunk=16, context=256) as loaded:
        yield loaded


class Waiting:
    def __init__(self, number: int, client: str = "", priority: int = 0) -> None:
        self.number, self.client, self.priority = number, client, priority


def test_clients_take_turns_by_what_they_had():
    shares = Shares()
    queue: FairQueue[Waiting] = FairQueue(shares)
    items = [Waiting(0, "a"), Waiting(1, "a"), Waiting(2, "b"), Waiting(3, "c", 1)]
    for item in items:
        shares.enter(item.client)
        queue.add(item)
    shares.charge("a", 100)
    assert [item.number for item in queue] == [3, 2, 0, 1]
    shares.charge("b", 101)
    assert [item.number for item in queue] == [3, 0, 1, 2]
    assert items[2] in queue
    queue.remove(items[2])
    assert items[2] not in queue
    assert len(queue) == 3


def test_nobody_saves_turns_up():
    shares = Shares()
    shares.enter("a")
    shares.charge("a", 1000)
    shares.enter("late")
    assert shares.served("late") == 1000
    shares.charge("late", 10)
    shares.leave("late")
    shares.charge("a", 1)
    shares.enter("late")
    assert shares.served("late") == 1010, "what it had is remembered"


def test_clients_that_left_are_forgotten_in_time():
    shares = Shares()
    for number in range(5000):
        shares.enter(str(number))
        shares.leave(str(number))
    assert sum(shares.served(str(number)) == 0 for number in range(5000)) == 5000
    shares.enter("4999")
    shares.charge("4999", 5)
    for number in range(2000):
        shares.enter(f"b{number}")
        shares.charge(f"b{number}", 1)
        shares.leave(f"b{number}")
    assert shares.served("b1999") > 0
    assert shares.served("b0") == 0
    assert shares.served("4999") == 5


def test_one_client_cannot_keep_another_waiting(model: Model):
    """Twenty jobs of one were there first; that of the other is among the first that end."""
    scheduler = Scheduler(model.engine)
    order: list[str] = []

    class Ends(Told):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def __call__(self, events: Any) -> None:
            super().__call__(events)
            if self.end is not None:
                order.append(self.name)

    for number in range(20):
        one, _ = job([number, 2], 6, client="many")
        one.sink = Ends("many")
        scheduler.add(one)
    run(scheduler, until=lambda: len(order) == 2)
    one, _ = job([3, 4], 6, client="one")
    one.sink = Ends("one")
    scheduler.add(one)
    run(scheduler)
    assert order.index("one") <= 5


def test_a_larger_priority_comes_first(model: Model):
    scheduler = Scheduler(model.engine)
    jobs = [job([number, 2], 4, priority=int(number == 5)) for number in range(6)]
    run(scheduler, *(one for one, _ in jobs), until=lambda: bool(jobs[5][1].tokens))
    assert sum(bool(told.tokens) for _, told in jobs) <= 2


def test_a_short_prompt_does_not_wait_for_a_long_one_of_its_client(model: Model):
    scheduler = Scheduler(model.engine, SchedulingOptions(max_stall=0.0))
    long, told_long = job(np.ones(240, int), 2)
    short, told_short = job([1, 2, 3], 2)
    run(scheduler, long, until=lambda: told_long.events != [])
    run(scheduler, short, until=lambda: bool(told_short.tokens))
    assert told_long.tokens == []
    run(scheduler)
    assert told_long.tokens != []


def test_answers_wait_for_one_part_of_a_prompt_at_most(model: Model):
    """Every step has a token of each answer; next to them parts as large as the stall allows."""
    now = [0.0]
    scheduler = Scheduler(model.engine, SchedulingOptions(max_stall=1.45), clock=lambda: now[0])
    steps: list[tuple[int, int]] = []
    step = model.engine.step

    def timed(chunks: Any, **options: Any) -> Any:
        read = sum(len(chunk) for chunk in chunks if not chunk.generated)
        steps.append((len(chunks), read))
        now[0] += 0.1 + 0.1 * read
        return step(chunks, **options)

    answering, told = job([1, 2, 3, 4], 60)
    long, told_long = job(np.ones(200, int), 1)
    model.engine.step = timed  # type: ignore[method-assign]
    run(scheduler, answering, until=lambda: len(told.tokens) > 3)
    before = len(steps)
    run(scheduler, long, until=lambda: bool(told_long.tokens))
    during = steps[before:]
    # One multiple (4 tokens) until it is measured, then what fits 0.9 s next to a step's 0.1 s:
    # 0.7 of what is allowed together.
    assert during[0] == (2, 4)
    assert {read for _, read in during[-6:-1]} == {8}
    assert max(read for _, read in during) == 8
    assert len(told.tokens) == 4 + len(during)


@pytest.mark.parametrize("chunk", [1, 2, 4, 5])
def test_a_step_without_room_next_to_answers_reads_in_turn_with_them(handmade: Path, chunk: int):
    """Texts are cut at multiples of 4 tokens: a step of 4 has no room for a part and an answer."""
    with sala_compile.load(handmade, threads=1, batch=2, chunk=chunk, context=256) as model:
        scheduler = Scheduler(model.engine)
        answering, told = job([1, 2, 3, 4], 200)
        long, told_long = job(np.ones(80, int), 1)
        run(scheduler, answering, until=lambda: len(told.tokens) > 3)
        run(scheduler, long, until=lambda: bool(told_long.tokens))
        assert len(told.tokens) - 4 <= {1: 80, 2: 80, 4: 20, 5: 20}[chunk] + 2
        assert told.end is None
        run(scheduler)
        assert told_long.tokens == model.generate(np.ones(80, int), 1, ignore_eos=True)


@pytest.mark.parametrize("multiple", [4, 64])
def test_the_stall_target(multiple: int):
    target = StallTarget(1.45, multiple, 8 * multiple)
    assert target.tokens(0) == 8 * multiple, "nobody waits"
    assert target.tokens(1) == multiple
    for _ in range(20):
        target.note(0.2, 0)
    target.note(0.2 + 0.1, multiple)  # room for eight times as many, but for twice at once
    assert target.tokens(1) == 2 * multiple
    target.note(0.2 + 0.2, 2 * multiple)
    assert target.tokens(3) == 4 * multiple
    for _ in range(20):
        target.note(0.2 + 0.4, 4 * multiple)
    assert target.tokens(1) == 8 * multiple
    target.note(0.2 + 3.2, 8 * multiple)  # four times as slow, once
    assert target.tokens(1) == 3 * multiple
    target.note(9.0, 1)  # less than a multiple says nothing
    assert target.tokens(1) == 3 * multiple
    target.note(0.2 + 100.0, 3 * multiple)
    assert target.tokens(1) == multiple, "never less, or nobody would read"


def test_a_chunk_smaller_than_a_multiple_is_the_most():
    target = StallTarget(1.0, 64, 8)
    assert target.tokens(0) == target.tokens(1) == 8
    target.note(0.1, 8)
    assert target.tokens(1) == 8


STALL = 0.25


@pytest.mark.parametrize("busy", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("per_token", [3e-5, 4e-4, 1.2e-3])
@pytest.mark.parametrize("seed", range(5))
def test_no_step_takes_longer_than_half_as_much_again(busy: float, per_token: float, seed: int):
    """From the first prompt on, whatever a token costs, on machines that are sometimes `busy`.

    A step takes twice as long then. Longer prompts cost more for each token, and so do small
    parts. Where nothing disturbs most of the time that is allowed is used.
    """
    random = np.random.default_rng(seed)
    target, took = StallTarget(STALL, 64, 1 << 14), list[float]()
    for _ in range(3):
        for _ in range(10):
            target.note(0.01, 0)
        begin = 0
        while begin < 30 / per_token:
            read = target.tokens(4)
            cost = 0.01 + (read + 16) * per_token * (1 + begin / 65536)
            took.append(cost * random.uniform(1, 1.1) * (1 + (random.random() < busy)))
            target.note(took[-1], read)
            begin += read
    assert max(took) <= 1.5 * STALL
    if not busy:
        assert np.median(took[len(took) // 2 :]) > 0.5 * STALL


def test_tokens_are_told_once_each(model: Model):
    scheduler = Scheduler(model.engine)
    one, told = job([1, 2, 3], 5)
    run(scheduler, one)
    assert len([event for event in told.events if isinstance(event, TokenChosen)]) == 5
