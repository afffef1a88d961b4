"""Prefixes of waiting jobs that come back from the lower tier of the prefix cache."""

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.job import Reuse


class Recalls:
    """Has kept prefixes brought, and moves what goes in either direction between two steps."""

    def __init__(self, engine: Engine) -> None:
        """For the prefix cache of an engine, if it has one."""
        self._engine = engine
        self.moving = False
        """Whether more could be moved at once, without waiting for a disk."""

    def begin(self, task: Task) -> bool:
        """Look once whether the lower tier has more of a prompt; whether the job waits for it."""
        prefix = self._engine.prefix
        if prefix is not None and task.reuses and not task.is_looked_up:
            path = self._engine.stepper.rule.path(len(task.prompt))
            exact = task.job.reuse is Reuse.READ
            task.recall = prefix.recall(task.prompt, path, exact=exact, salt=task.job.salt)
            task.is_looked_up = True
        return self.awaits(task)

    @staticmethod
    def awaits(task: Task) -> bool:
        """Whether a job waits for its prefix."""
        return task.recall is not None and not task.recall.finished

    def move(self) -> None:
        """Move a bounded number of bytes."""
        prefix = self._engine.prefix
        lower = None if prefix is None else prefix.lower
        self.moving = lower is not None and lower.turn()
