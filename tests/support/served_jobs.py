"""Jobs for schedulers, and what their holders were told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sala_compile.runtime.serving.scheduling.check_job import check_job
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.event import (
    End,
    Ended,
    Event,
    Likelihood,
    PromptRead,
    Started,
    TokenChosen,
)
from sala_compile.runtime.serving.work.job import Job


@dataclass
class Told:
    """The events of a job."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, events: Sequence[Event]) -> None:
        assert events
        assert self.end is None, "events after the last one"
        self.events += events

    @property
    def tokens(self) -> list[int]:
        return [each.token for each in self.events if isinstance(each, TokenChosen)]

    @property
    def likelihoods(self) -> list[Likelihood | None]:
        return [each.likelihood for each in self.events if isinstance(each, TokenChosen)]

    @property
    def of_prompt(self) -> list[Likelihood | None]:
        parts = [each for each in self.events if isinstance(each, PromptRead)]
        return [likelihood for part in parts for likelihood in part.likelihoods]

    @property
    def cached(self) -> int | None:
        found = [each.cached_tokens for each in self.events if isinstance(each, Started)]
        return found[0] if found else None

    @property
    def last(self) -> Ended | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Ended) else None

    @property
    def end(self) -> End | None:
        return None if self.last is None else self.last.end


def job(prompt: Sequence[int] | np.ndarray, count: int = 4, **options: Any) -> tuple[Job, Told]:
    """A job for some tokens after a prompt, and what it is told."""
    told = Told()
    return Job(np.asarray(prompt, np.int32), count, told, **options), told


def run(scheduler: Scheduler, *jobs: Job, until: Callable[[], bool] | None = None) -> None:
    """Add jobs, and take turns until nothing is left to do (or `until` says so)."""
    for each in jobs:
        check_job(scheduler.engine, each)
        scheduler.add(each)
    for _ in range(10_000):
        if not scheduler.busy or (until is not None and until()):
            return
        scheduler.turn()
    raise AssertionError("the jobs do not end")
