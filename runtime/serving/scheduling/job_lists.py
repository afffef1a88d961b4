"""Where the jobs of a scheduler are: they wait, run, or have just ended."""

import logging

from sala_compile.runtime.serving.scheduling.fair_queue import FairQueue, Shares
from sala_compile.runtime.serving.scheduling.task import Task

_LOG = logging.getLogger(__name__)


class JobLists:
    """The jobs that wait, in turns by `Shares`; those that run; what their holders are owed."""

    def __init__(self, shares: Shares, batch: int) -> None:
        """Nobody is there; at most `batch` jobs run."""
        self.waiting: FairQueue[Task] = FairQueue(shares)
        self.running: list[Task] = []
        self._ended: list[Task] = []
        self._shares = shares
        self._batch = batch

    def has_room(self, coming: int = 0) -> bool:
        """Whether one more may run, next to so many that are about to."""
        return len(self.running) + coming < self._batch

    def add(self, task: Task) -> None:
        """Let a job wait."""
        self._shares.enter(task.client)
        self.waiting.add(task)

    def run(self, task: Task) -> None:
        """Let a waiting job run."""
        self.waiting.remove(task)
        self.running.append(task)

    def end(self, task: Task) -> None:
        """Take out a job, which is told for the last time after this turn."""
        for tasks in (self.running, self.waiting):
            if task in tasks:
                tasks.remove(task)
        self._shares.leave(task.client)
        self._ended.append(task)

    def deliver(self, parked: list[Task]) -> None:
        """Give every holder the events of this turn, those of `parked` jobs too."""
        ended, self._ended = self._ended, []
        for task in [*self.running, *parked, *self.waiting.all(), *ended]:
            error = task.deliver()
            if error is not None:
                _LOG.error("the sink of a job raised %r: the job ends", error, exc_info=error)
