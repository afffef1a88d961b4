"""Jobs that give their memory to older ones continue with every bit, or say why they cannot."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling import parking, piece_file
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.work.event import End
from sala_compile.runtime.serving.work.job import Job, Reuse
from sala_compile.runtime.serving.work.measures import Measures
from sala_compile.runtime.state import stored_rows
from tests.runtime.conftest import Compiled
from tests.support.sequences import assert_unused, text
from tests.support.served_jobs import Told, job, run

CONTEXT = 320
OPTIONS: dict[str, Any] = {"logprobs": 2}


@pytest.fixture(scope="module")
def path(compiled: Compiled) -> Path:
    return compiled("float32")


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    """Room for one of the jobs at its end, and for two of them at first."""
    with sala_compile.load(path, context=CONTEXT, capacity=CONTEXT, batch=2, threads=1) as loaded:
        yield loaded


class Disk:
    """What the parked pages are written to: counts pieces, and fails as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Any] = []
        self.pieces: list[tuple[str, int]] = []
        self.refusal: OSError | None = None
        self.fault = ""

    def open(self, dir: str | None) -> "File":
        assert dir == str(self.folder)
        if self.fault == "closed":
            raise OSError(13, "permission denied")
        self.files.append(File(self))
        return self.files[-1]

    @property
    def held(self) -> int:
        return sum(not file.real.closed for file in self.files)


class File:
    """One of its files."""

    def __init__(self, disk: Disk) -> None:
        self._disk, self.real = disk, TemporaryFile(dir=disk.folder)  # noqa: SIM115  (`close` closes it)
        self.seek, self.flush, self.close = self.real.seek, self.real.flush, self.real.close

    def write(self, data: memoryview) -> None:
        if self._disk.refusal is not None:
            raise self._disk.refusal
        self._disk.pieces.append(("out", len(data)))
        self.real.write(data)

    def readinto(self, data: memoryview) -> int:
        self._disk.pieces.append(("in", len(data)))
        count = 0 if self._disk.fault == "gone" else self.real.readinto(data)
        if self._disk.fault == "damaged":
            data[5] ^= 1
        return count


class Served:
    """A scheduler, what it counts, and its disk."""

    def __init__(
        self, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: float
    ) -> None:
        self.disk, self.measures = Disk(folder), Measures()
        monkeypatch.setattr(piece_file, "TemporaryFile", self.disk.open)
        options = SchedulingOptions(parking=str(folder), **options)
        self.scheduler = Scheduler(model.engine, options, measures=self.measures)

    @property
    def preemptions(self) -> float:
        return self.measures.registry.get_sample_value("sala_num_preemptions_total") or 0.0

    def is_parked(self) -> bool:
        return bool(self.disk.pieces)

    def end(self) -> None:
        """Nothing is left when the scheduler ends."""
        self.scheduler.end_all(End.SHUTDOWN)
        assert self.disk.held == 0
        assert [*self.disk.folder.iterdir()] == []


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of keys and values move one by one, each in two pieces."""
    monkeypatch.setattr(stored_rows, "PIECE_BYTES", 6000)


@pytest.fixture
def served(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    found = Served(model, tmp_path, monkeypatch)
    yield found
    found.end()


def _jobs(model: Model) -> list[tuple[Job, Told]]:
    return [job(text(model, 100, seed), 180, **OPTIONS) for seed in (1, 2)]


def _alone(path: Path, one: Job, context: int) -> Told:
    told = Told()
    with sala_compile.load(path, context=context, batch=1, threads=1) as model:
        run(Scheduler(model.engine), replace(one, sink=told, cancelled=False))
    return told


def _assert_alone(path: Path, jobs: list[tuple[Job, Told]], context: int = CONTEXT) -> None:
    for one, told in jobs:
        alone = _alone(path, one, context)
        assert told.end is End.LENGTH
        assert told.tokens == alone.tokens
        assert told.likelihoods == alone.likelihoods
        assert told.of_prompt == alone.of_prompt


def test_the_youngest_is_preempted_and_continues(path: Path, model: Model, served: Served):
    jobs = _jobs(model)
    run(served.scheduler, *(one for one, _ in jobs), until=served.is_parked)
    assert jobs[1][1].end is None
    assert len(jobs[1][1].tokens) > 10, "it was answering"
    run(served.scheduler)
    assert served.preemptions > 0
    _assert_alone(path, jobs)
    assert_unused(model)


class _Now(Executor):
    """Does everything at once."""

    def submit(self, act: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(act(*arguments, **options))
        return done


def test_pages_move_one_piece_at_a_time(
    path: Path, model: Model, served: Served, monkeypatch: pytest.MonkeyPatch
):
    """An answer that runs waits for one piece, in either direction, and for pages that it needs."""
    monkeypatch.setattr(parking, "ThreadPoolExecutor", lambda *_: _Now())
    jobs = [*_jobs(model), job(text(model, 30, 3), 200, **OPTIONS)]
    for one, _ in jobs:
        served.scheduler.add(one)
    moved: list[int] = []
    while served.scheduler.busy:
        before, running = len(served.disk.pieces), len(jobs[0][1].tokens)
        served.scheduler.turn()
        if len(jobs[0][1].tokens) > running:  # it ran in this turn
            moved.append(len(served.disk.pieces) - before)
    assert max(moved) <= 2, "one page"
    assert sum(moved) > 8
    assert {kind for kind, _ in served.disk.pieces} == {"out", "in"}
    _assert_alone(path, jobs)
    assert_unused(model)


def test_answers_that_share_a_prompt_are_preempted(path: Path, model: Model, served: Served):
    """Pages that others use as well leave last: that frees nothing."""
    prompt = text(model, 100, 1)
    jobs = [job(prompt, 180, **OPTIONS, prompt_logprobs=True) for _ in range(2)]
    run(served.scheduler, *(one for one, _ in jobs))
    assert served.preemptions > 0
    _assert_alone(path, jobs)
    assert_unused(model)


@pytest.mark.parametrize("fault", ["closed", "full", "damaged", "gone"])
def test_what_a_disk_loses_is_computed_again(path: Path, model: Model, served: Served, fault: str):
    """Token by token as it was, which gives the same bits."""
    served.disk.fault = fault
    if fault == "full":
        served.disk.refusal = OSError(28, "no space is left")
    jobs = _jobs(model)
    run(served.scheduler, *(one for one, _ in jobs))
    assert served.preemptions > 0
    _assert_alone(path, jobs)
    assert_unused(model)


def test_a_parked_job_that_is_cancelled_leaves_no_file(model: Model, served: Served):
    jobs = _jobs(model)
    run(served.scheduler, *(one for one, _ in jobs), until=served.is_parked)
    jobs[1][0].cancel()
    served.scheduler.turn()
    assert jobs[1][1].end is End.CANCELLED
    run(served.scheduler)
    assert_unused(model)


def test_nothing_is_left_after_the_end(model: Model, served: Served):
    jobs = _jobs(model)
    run(served.scheduler, *(one for one, _ in jobs), until=served.is_parked)
    served.end()
    assert [told.end for _, told in jobs] == [End.SHUTDOWN] * 2
    assert_unused(model)


def test_reading_anew_may_not_reuse_what_was_generated(path: Path, model: Model, served: Served):
    """The text of an answer is not taken for a prompt that was read."""
    jobs = _jobs(model)
    for one, _ in jobs:
        one.reuse = Reuse.READ
    run(served.scheduler, *(one for one, _ in jobs))
    _assert_alone(path, jobs)


def test_a_job_is_preempted_while_it_reads_and_continues(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The older one needs a second page before the long prompt of the younger one is read."""
    older, younger = 100, 1500
    pages = (older + 16) // 16 + -(-younger // 16) + 1
    sizes: dict[str, Any] = {"context": 1600, "capacity": 16 * pages, "batch": 2, "threads": 1}
    with sala_compile.load(path, chunk=128, **sizes) as model:
        # 64 tokens of a prompt in a step
        served = Served(model, tmp_path, monkeypatch, max_stall=0.001)
        jobs = [
            job(text(model, older, 1), 60, **OPTIONS),
            job(text(model, younger, 2), 20, prompt_logprobs=True, **OPTIONS),
        ]
        run(served.scheduler, jobs[0][0], until=lambda: len(jobs[0][1].tokens) == 10)
        run(served.scheduler, jobs[1][0], until=lambda: served.preemptions > 0)
        assert 64 <= len(jobs[1][1].of_prompt) < younger, "it was reading"
        run(served.scheduler)
        assert served.preemptions == 1
        assert_unused(model)
    _assert_alone(path, jobs, context=1600)


@pytest.mark.parametrize("fault", ["full", "damaged"])
def test_what_cannot_be_computed_again_fails_alone(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
):
    """A job that began with generated text has a state that no reading gives."""
    sizes: dict[str, Any] = {"context": 640, "capacity": 640, "batch": 2, "threads": 1}
    with sala_compile.load(path, prefix_cache="500KiB", snapshot_every=64, **sizes) as model:
        served = Served(model, tmp_path, monkeypatch)
        first, told = job(text(model, 100, 3), 20)
        run(served.scheduler, first)
        prompt = np.concatenate([first.prompt, np.array([*told.tokens, 5], np.int32)])
        jobs = [job(text(model, 100, 1), 500, **OPTIONS), job(prompt, 500, **OPTIONS)]
        served.disk.fault = fault
        served.disk.refusal = OSError(28, "no space") if fault == "full" else None
        run(served.scheduler, *(one for one, _ in jobs))
        assert jobs[1][1].cached == 119, "what the first answer left"
        assert len(jobs[1][1].tokens) > 10, "it was answering"
        last = jobs[1][1].last
        assert last is not None
        assert last.end is End.FAILED
        assert "its state cannot be kept" in str(last.error)
        assert ("no space" if fault == "full" else "damaged") in str(last.error)
        assert served.preemptions == 1
        pages = [pool for _, pool in model.engine.store.groups.pools()]
        assert all(pool.available == pool.count for pool in pages)
        assert model.engine.store.slots.used == 0
        served.end()
    _assert_alone(path, jobs[:1], context=640)
