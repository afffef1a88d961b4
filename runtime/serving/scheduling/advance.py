"""What a job does next, and what a step brought it."""

import numpy as np

from sala_compile.runtime.engine.chunk import StepResult
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.serving.scheduling import job_progress as progress
from sala_compile.runtime.serving.scheduling.drafting import Drafting, Verified
from sala_compile.runtime.serving.scheduling.records import Records
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.event import End


class Advance:
    """Takes jobs from one step to the next."""

    def __init__(self, engine: Engine, drafting: Drafting, records: Records) -> None:
        """For jobs of an engine; `drafting` and `records` hear of their tokens."""
        self._engine = engine
        self._drafting = drafting
        self._records = records

    def read_on(self, task: Task) -> bool:
        """Begin the next call of a job; False if it has no more to read, and no token yet."""
        if task.unread:
            ids, generated = task.unread.popleft()
            draws = () if task.answer or task.unread else task.draws
            task.call = self._engine.append(
                *(task.sequence(), ids),
                draws=draws,
                generated=generated,
                reuse=task.reuses,
                exact=True,
            )
        return task.call is not None or bool(task.answer)

    def choose(self, task: Task, result: StepResult | np.ndarray) -> End | None:
        """Note the next token of an answer; what ends the job, if it is the last."""
        end = progress.choose(task, result, self._engine.limits.context)
        if task.answer:
            self._drafting.observe(task, (task.token,))
            self._records.chose(task)
        return end

    def verify(self, task: Task, verified: Verified) -> End | None:
        """Note the next tokens of an answer, which were chosen while drafts were verified.

        What ends the job, if one is the last; raises what choosing them raised.
        """
        self._drafting.observe(task, verified.chosen)
        self._records.verified(len(verified.token_ids) - 1, len(verified.chosen) - 1)
        for _ in verified.chosen:
            self._records.chose(task)
        if verified.error is not None:
            raise verified.error
        return verified.end
