"""How jobs end: what they hold is given back, and their holders are told."""

import logging

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.scheduling.block_reads import BlockReads
from sala_compile.runtime.serving.scheduling.job_lists import JobLists
from sala_compile.runtime.serving.scheduling.parking import Parking
from sala_compile.runtime.serving.scheduling.records import Records
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.event import End, Ended

_LOG = logging.getLogger(__name__)
_WHOLE = (End.END_TOKEN, End.LENGTH, End.CONTEXT, End.CONSTRAINT)
"""Ends of answers that a conversation goes on from."""


class Endings:
    """Ends jobs wherever they are."""

    def __init__(
        self,
        engine: Engine,
        jobs: JobLists,
        folder: str | None,
        blocks: BlockReads,
        records: Records,
    ) -> None:
        """For the jobs of an engine; `blocks` and `records` hear of it.

        The states of jobs that are parked go to a folder, as `Parking` takes it.
        """
        self._engine = engine
        self._jobs = jobs
        self._blocks = blocks
        self._records = records
        self.parking = Parking(engine, folder, self.fail)
        """The jobs that gave their memory to others, which it ends where they cannot continue."""

    def end_by(self, task: Task, end: End | None) -> None:
        """End a job, if something ends it."""
        if end is not None:
            self.end(task, end)

    def end(self, task: Task, end: End, error: SalaError | None = None) -> None:
        """End a job: keep the state of a whole answer, give back what it holds, and tell."""
        self._jobs.end(task)
        self.parking.forget(task)
        if task.call is not None:
            task.call.pause()  # it is closed next: there is nothing to go back for
            task.call = None
        if task.state is not None:
            if end in _WHOLE and task.state.length > len(task.prompt) and task.reuses:
                self._engine.keep(task.state)
            self._engine.states.close(task.state)
            task.state = None
        self._records.ended(task, end)
        self._blocks.tell(task)
        task.tell(Ended(end, error))

    def fail(self, task: Task, error: Exception) -> None:
        """End a job for an error; what is no SalaError is a mistake of ours, and logged."""
        if not isinstance(error, SalaError):
            _LOG.error("a job failed", exc_info=error)
            error = SalaError(f"the engine failed: {type(error).__name__}")
        self.end(task, End.FAILED, error)
