"""Every job gets the bits that it gets alone on a cold engine, whatever else runs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.generation.sampling import SamplingOptions
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.scheduling.check_job import check_job
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.work.event import End
from sala_compile.runtime.serving.work.job import Job, Reuse
from sala_compile.runtime.serving.work.measures import Measures
from tests.runtime.conftest import Compiled
from tests.support.sequences import text
from tests.support.served_jobs import Told, run

WHOLE = (End.LENGTH, End.END_TOKEN, End.CONTEXT, End.CONSTRAINT)


class Steps:
    """A constraint: no token more than so many ids from the one before; ends at token 0."""

    def __init__(self, vocabulary: int, width: int) -> None:
        self._vocabulary, self._width, self._last = vocabulary, width, 0

    def allowed(self) -> np.ndarray:
        bits = np.zeros(-(-self._vocabulary // 32) * 32, np.uint8)
        bits[max(0, self._last - self._width) : self._last + self._width + 1] = 1
        bits[self._vocabulary :] = 0
        return np.packbits(bits, bitorder="little").view(np.uint32)

    def accept(self, token: int) -> None:
        assert abs(token - self._last) <= self._width
        self._last = token

    def complete(self) -> bool:
        return self._last == 0


def _prompt(model: Model, random: np.random.Generator) -> np.ndarray:
    """Few openings, few ends: many prompts begin alike, and some are equal."""
    opening = text(model, int(random.choice([3, 70, 130, 260])), int(random.integers(3)))
    end = text(model, int(random.choice([1, 2, 33])), int(random.integers(3)))
    return np.concatenate([opening, end])


def _sampling(random: np.random.Generator) -> SamplingOptions:
    if random.random() < 0.4:
        return SamplingOptions()
    options: dict[str, Any] = {"temperature": 0.8, "seed": int(random.integers(1000))}
    more = {"top_k": 5, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.3}
    more |= {"presence_penalty": 0.5, "frequency_penalty": 0.5, "logit_bias": {1: 3.0}}
    chosen = random.choice(sorted(more), 2, replace=False)
    return SamplingOptions(**options, **{name: more[name] for name in chosen})


def _job(model: Model, random: np.random.Generator) -> tuple[Job, Any]:
    """A job, and what makes its constraint."""
    width = int(random.integers(2, 9)) if random.random() < 0.2 else 0
    vocabulary = model.vocabulary
    prompt_logprobs = random.random() < 0.15
    job = Job(
        _prompt(model, random),
        int(random.choice([0, 1, 5, 40] if prompt_logprobs else [1, 2, 5, 40, 100])),
        Told(),
        sampling=_sampling(random),
        ends=frozenset(random.integers(0, vocabulary, 1).tolist()),
        min_tokens=int(random.choice([0, 0, 3])),
        logprobs=int(random.integers(0, 4)) if random.random() < 0.7 else None,
        prompt_logprobs=prompt_logprobs,
        reuse=Reuse(random.choice([*Reuse])),
        client=str(random.integers(4)),
        priority=int(random.integers(2)),
    )
    return job, (lambda: Steps(vocabulary, width)) if width else lambda: None


def _alone(model: Model, job: Job, constraint: Any) -> Told:
    """What a job is told alone."""
    told = Told()
    fields = {"sink": told, "cancelled": False, "constraint": constraint()}
    run(Scheduler(model.engine), replace(job, reuse=Reuse.NONE, **fields))
    return told


def _drive(scheduler: Scheduler, jobs: list[Job], random: np.random.Generator) -> None:
    """Add jobs in bursts, and cancel some on the way."""
    added: list[Job] = []
    for _ in range(100_000):
        if len(added) < len(jobs) and random.random() < 0.3:
            for each in jobs[len(added) : len(added) + int(random.integers(1, 9))]:
                check_job(scheduler.engine, each)
                scheduler.add(each)
                added.append(each)
        if added and random.random() < 0.02:
            added[int(random.integers(len(added)))].cancel()
        scheduler.turn()
        if len(added) == len(jobs) and not scheduler.busy:
            return
    raise AssertionError("the jobs do not end")


@pytest.fixture(scope="module")
def path(compiled: Compiled) -> Path:
    return compiled("float32")


@pytest.fixture(scope="module")
def cold(path: Path) -> Iterator[Model]:
    with sala_compile.load(path, context=320, batch=1, threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_jobs_get_their_own_bits(path: Path, cold: Model, seed: int):
    random = np.random.default_rng(seed)
    now = [0.0]

    def clock() -> float:
        now[0] += random.exponential(0.05)
        return now[0]

    sizes: dict[str, Any] = {"context": 320, "batch": 6, "threads": 1}
    nbytes = ("0", "2MiB", "400KiB")[seed]
    caches = {"prefix_cache": nbytes, "snapshot_every": 64} if seed else {}
    sizes["speculate"] = (0, 4, 12)[seed]
    measures = Measures()
    with sala_compile.load(path, capacity=400, chunk=128, **sizes, **caches) as model:
        scheduler = Scheduler(model.engine, SchedulingOptions(max_stall=0.5), clock, measures)
        made = [_job(model, random) for _ in range(120)]
        for job, constraint in made:
            job.constraint = constraint()
        _drive(scheduler, [job for job, _ in made], random)
        pools = model.engine.store.pools
        assert {name: pool.available for name, pool in pools.items() if name != "snapshots"} == {
            name: pool.count for name, pool in pools.items() if name != "snapshots"
        }
        assert model.info()["sequences"]["used"] == 0
    samples = [each for family in measures.registry.collect() for each in family.samples]
    counted = {each.name: each.value for each in samples}
    drafts = [counted[name] for name in counted if "spec_decode" in name and "total" in name]
    assert len(drafts) == 2
    assert all((count > 5) is (seed > 0) for count in drafts), drafts
    ends = [job.sink.end for job, _ in made]
    assert sum(end in WHOLE for end in ends) > 60
    assert End.FAILED not in ends
    for job, constraint in made:
        told, alone = job.sink, _alone(cold, job, constraint)
        count = len(told.tokens)
        if told.end is not End.CANCELLED:
            assert told.end is alone.end
            assert count == len(alone.tokens)
            assert told.of_prompt == alone.of_prompt
        assert told.tokens == alone.tokens[:count]
        assert told.likelihoods == alone.likelihoods[:count]
