"""The engine's thread: jobs from any thread, refusals, failures, and the end."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import DeviceError, RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.engine_thread import EngineThread
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.work.event import End, Ended, Event
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.refusals import QueueFull, ServerFailed, ServerStopping
from tests.support.sequences import assert_unused
from tests.support.served_jobs import Told, job

LONG = 60.0
"""Seconds after which a test that hangs fails."""


class Heard(Told):
    """What a job was told, with a signal at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()

    def __call__(self, events: Sequence[Event]) -> None:
        super().__call__(events)
        if isinstance(events[-1], Ended):
            self.done.set()


def _job(prompt: Sequence[int], count: int = 4) -> tuple[Job, Heard]:
    heard = Heard()
    return Job(np.array(prompt, np.int32), count, heard), heard


@pytest.fixture
def model(handmade: Path) -> Iterator[Model]:
    with sala_compile.load(handmade, threads=1, batch=2) as loaded:
        yield loaded
        assert_unused(loaded)


def test_more_jobs_than_may_ever_wait_are_a_mistake(model: Model):
    thread = EngineThread(model.engine, SchedulingOptions(queue=2))
    thread.start()
    with pytest.raises(RequestError, match="3 answers"):
        thread.submit(*(_job([1, 2])[0] for _ in range(3)))
    thread.stop()


def test_jobs_from_several_threads(model: Model):
    expected = {first: model.generate([first, 2], 5, ignore_eos=True) for first in range(12)}
    thread = EngineThread(model.engine)
    thread.start()
    heard: dict[int, Heard] = {}

    def send(first: int) -> None:
        one, heard[first] = _job([first, 2], 5)
        thread.submit(one)
        heard[first].done.wait(LONG)

    senders = [threading.Thread(target=send, args=(first,)) for first in range(12)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(LONG)
    thread.stop(LONG)
    assert {first: told.tokens for first, told in heard.items()} == expected


def test_a_full_queue_takes_all_jobs_of_a_request_or_none(model: Model):
    thread = EngineThread(model.engine, SchedulingOptions(queue=3))
    jobs = [_job([1, 2]) for _ in range(4)]
    thread.submit(jobs[0][0])
    with pytest.raises(QueueFull) as refusal:
        thread.submit(*(one for one, _ in jobs[1:]))
    assert refusal.value.retry_after > 0
    thread.submit(*(one for one, _ in jobs[1:3]))
    thread.start()
    assert all(heard.done.wait(LONG) for _, heard in jobs[:3])
    thread.stop(LONG)


def test_stopping_finishes_what_runs_within_the_grace(model: Model):
    thread = EngineThread(model.engine)
    thread.start()
    one, heard = _job([1, 2], 40)
    thread.submit(one)
    thread.stop(LONG)
    assert heard.end is End.LENGTH
    assert not thread.ready
    with pytest.raises(ServerStopping):
        thread.submit(job([1])[0])


def test_stopping_without_grace_ends_jobs(model: Model):
    thread = EngineThread(model.engine)
    stopping = threading.Event()
    jobs = [_job([1, 2], 40) for _ in range(5)]
    first, heard_first = jobs[0]

    def wait_once(events: Sequence[Event]) -> None:
        stopping.wait(LONG)
        heard_first(events)

    first.sink = wait_once
    thread.submit(*(one for one, _ in jobs))
    thread.start()
    stop = threading.Thread(target=thread.stop)
    stop.start()
    while thread.ready:
        stop.join(0.001)
    stopping.set()
    stop.join(LONG)
    assert [heard.end for _, heard in jobs] == [End.SHUTDOWN] * 5
    thread.stop()


def test_errands_run_between_steps(model: Model):
    thread = EngineThread(model.engine)
    thread.start()
    assert thread.between_steps(lambda engine: engine.limits.vocabulary).result(LONG) == 29
    with pytest.raises(ZeroDivisionError):
        thread.between_steps(lambda engine: 1 // 0).result(LONG)
    thread.stop()


def test_a_device_that_fails_once_costs_the_jobs_of_its_step(model: Model, failing):
    thread = EngineThread(model.engine)
    thread.start()
    with failing(model, 1):
        one, heard = _job([1, 2])
        thread.submit(one)
        assert heard.done.wait(LONG)
    assert heard.end is End.FAILED
    assert isinstance(heard.last.error, DeviceError)
    other, told = _job([1, 2])
    thread.submit(other)
    assert told.done.wait(LONG)
    assert told.end is End.LENGTH
    assert thread.failed is None
    thread.stop()


def test_a_device_that_goes_on_failing_is_reported(model: Model, failing):
    thread = EngineThread(model.engine)
    thread.start()
    with failing(model, 100):
        for _ in range(3):
            one, heard = _job([1, 2])
            thread.submit(one)
            assert heard.done.wait(LONG)
            assert heard.end is End.FAILED
        thread.stop()
    assert isinstance(thread.failed, DeviceError)
    assert not thread.ready
    with pytest.raises(ServerFailed):
        thread.submit(job([1])[0])


@pytest.fixture
def failing():
    """Makes the next steps of a model fail as a device does."""
    from contextlib import contextmanager

    @contextmanager
    def fail(model: Model, count: int):
        left = [count]

        class Failing:
            def __init__(self, program) -> None:
                self._program = program
                self.phases, self.close = program.phases, program.close

            def run(self, *step) -> None:
                if left[0]:
                    left[0] -= 1
                    raise DeviceError("the device failed")
                self._program.run(*step)

        with model.wrapped(Failing):
            yield

    return fail


SCHEDULER = "sala_compile.runtime.serving.scheduling.scheduler.Scheduler"


@pytest.mark.parametrize("method", ["add", "turn", "waiting"])
def test_a_mistake_of_ours_leaves_nobody_waiting(
    model: Model, monkeypatch: pytest.MonkeyPatch, method: str
):
    thread = EngineThread(model.engine)
    jobs = [_job([1, 2], 9) for _ in range(3)]

    def broken(*arguments: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(
        f"{SCHEDULER}.{method}", broken if method != "waiting" else property(broken)
    )
    thread.submit(*(one for one, _ in jobs))
    thread.start()
    assert all(heard.done.wait(LONG) for _, heard in jobs)
    assert {heard.end for _, heard in jobs} == {End.FAILED}
    thread.stop()
    assert (thread.failed is None) == (method == "add")


def test_what_cannot_run_now_is_tried_again(model: Model):
    """Somebody else holds every slot meanwhile."""
    held = [model.engine.states.open() for _ in range(2)]
    thread = EngineThread(model.engine)
    thread.start()
    one, heard = _job([1, 2], 3)
    thread.submit(one)
    assert not heard.done.wait(0.05)
    for state in held:
        thread.between_steps(lambda engine, state=state: engine.states.close(state)).result(LONG)
    assert heard.done.wait(LONG)
    assert heard.end is End.LENGTH
    thread.stop()
