"""Which jobs run in the next step of the engine."""

import logging
import time
from collections.abc import Callable
from itertools import count

import numpy as np

from sala_compile.runtime.engine.chunk import SequenceChunk, StepResult
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import MemoryBudgetError, SalaError
from sala_compile.runtime.serving.scheduling import job_progress as progress
from sala_compile.runtime.serving.scheduling.advance import Advance
from sala_compile.runtime.serving.scheduling.beginnings import Beginnings
from sala_compile.runtime.serving.scheduling.block_reads import BlockReads
from sala_compile.runtime.serving.scheduling.drafting import Drafting, Verified
from sala_compile.runtime.serving.scheduling.fair_queue import FairQueue, Shares
from sala_compile.runtime.serving.scheduling.parking import Parking
from sala_compile.runtime.serving.scheduling.recalls import Recalls
from sala_compile.runtime.serving.scheduling.records import Records
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.scheduling.stall_target import StallTarget
from sala_compile.runtime.serving.scheduling.step_plan import StepPlan
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.scheduling.token_choice import TokenChoice
from sala_compile.runtime.serving.work.event import End, Ended, Started
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.measures import Measures

_LOG = logging.getLogger(__name__)
_WHOLE = (End.END_TOKEN, End.LENGTH, End.CONTEXT, End.CONSTRAINT)
"""Ends of answers that a conversation goes on from."""


class Scheduler:
    """The jobs of one engine; one thread adds jobs and takes turns.

    In each turn jobs that were cancelled or are late end, waiting ones are admitted while their
    pages are free, and one step runs: the next token of every answer, and with what is left of the
    step's tokens the next parts of prompts, so that no answer waits for more than one such part.
    Where the next tokens find no page, the youngest job is parked, and continues later.
    """

    def __init__(
        self,
        engine: Engine,
        options: SchedulingOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
        measures: Measures | None = None,
    ) -> None:
        """For an engine that nobody else steps; `clock` is that of deadlines."""
        chosen = options or SchedulingOptions()
        multiple = engine.stepper.target.read_multiple
        self.engine = engine
        self._clock = clock
        self._numbers = count()
        self._shares = Shares()
        self._waiting: FairQueue[Task] = FairQueue(self._shares)
        self._running: list[Task] = []
        self._ended: list[Task] = []
        self._stall = StallTarget(chosen.max_stall, multiple, engine.limits.chunk)
        self._drafting = Drafting(engine)
        self._plan = StepPlan(engine, self._shares, self._stall, self._drafting)
        self._beginnings = Beginnings(engine)
        self._parking = Parking(engine, chosen.parking, self._fail)
        self._recalls = Recalls(engine)
        self._blocks = BlockReads(engine)
        self.records = Records(engine, measures or Measures(), clock)
        self._advance = Advance(engine, self._drafting, self.records)
        self.after_turns: list[Callable[[], None]] = []
        """Called when the sinks of a turn have been, whatever became of it."""

    @property
    def waiting(self) -> int:
        """How many jobs wait to begin."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._waiting or self._running or self._parking)

    @property
    def ready(self) -> bool:
        """Whether a turn would do anything now, and not only when a disk has done its part."""
        waits = all(self._recalls.awaits(task) for task in self._waiting.all())
        return bool(self._running or self._parking or self._recalls.moving or not waits)

    def add(self, job: Job, arrived: float | None = None) -> None:
        """Let a checked job wait for its turn; it `arrived` now unless that is given."""
        choice = TokenChoice(job, self.engine.limits.vocabulary, self.engine.stepper)
        now = self._clock() if arrived is None else arrived
        task = Task(job, next(self._numbers), now, choice)
        draw = choice.draw() if job.max_new_tokens else None
        task.draws = () if draw is None else (draw,)
        self._shares.enter(job.client)
        self._waiting.add(task)

    def turn(self) -> bool:
        """End what is to end, admit what fits, run one step, and tell the holders.

        Whether a step ran. Raises what the engine raises; the jobs of its step have ended then.
        """
        try:
            self._sweep()
            self._resume()
            self._admit()
            return self._step()
        finally:
            self._deliver()
            self._recalls.move()

    def end_all(self, end: End, error: SalaError | None = None) -> None:
        """End every job, and tell the holders."""
        for task in [*self._waiting.all(), *self._parking.all(), *self._running]:
            self._end(task, end, error)
        self._deliver()
        self._parking.close()

    def _sweep(self) -> None:
        """End the jobs that were cancelled, and those whose time is over."""
        now = self._clock()
        for task in [*self._running, *self._parking.all(), *self._waiting.all()]:
            self._end_by(task, task.ended(now))

    def _resume(self) -> None:
        """Bring parked jobs back, the oldest first, while there is room."""
        for task in self._parking.all():
            if not self._has_room() or not self._attempt(task, self._bring_back):
                return

    def _bring_back(self, task: Task) -> bool:
        """Let a parked job run again; False if there is no room now."""
        if not self._parking.bring_back(task, self._running):
            return False
        self._running.append(task)
        self._advance.read_on(task)
        return True

    def _admit(self) -> None:
        """Begin waiting jobs in their turn, while the step has room and their pages are free.

        A job whose prompt another one reads waits for that, and one whose prefix comes from the
        lower tier for it; they let others go first.
        """
        if self._parking:
            return
        coming = 0
        for task in self._waiting:
            if not self._has_room(coming):
                return
            if self._recalls.begin(task):
                coming += 1
                continue
            awaited = self._beginnings.awaited(task, self._running)
            if awaited is None and not self._attempt(task, self._begin):
                return

    def _begin(self, task: Task) -> bool:
        """Begin to read the prompt of a job; False if there is no room now."""
        if not self._beginnings.begin(task, self._running):
            return False
        self._run(task)
        return True

    def _run(self, task: Task) -> None:
        """Note that a waiting job runs."""
        self._waiting.remove(task)
        self._running.append(task)
        task.tell(Started(task.cached, self._clock() - task.arrived))
        self.records.began(task)

    def _has_room(self, coming: int = 0) -> bool:
        return len(self._running) + coming < self.engine.limits.batch

    def _attempt(self, task: Task, begin: Callable[[Task], bool]) -> bool:
        """Begin or bring back a job, which an error ends; False if there is no room now."""
        try:
            return begin(task)
        except Exception as error:
            self._fail(task, error)
            return True

    def _step(self) -> bool:
        """Run one step: all answers, and parts of prompts; whether there were some."""
        self._make_room()
        answers, parts = self._plan.next(self._running)
        planned = [*answers, *parts]
        if not planned:
            return False
        begun, observer = self._clock(), self._blocks.observer(planned)
        try:
            results = self.engine.step([chunk for _, chunk in planned], observer=observer)
        except Exception as error:
            self.records.failed()
            for task, _ in planned:
                self._fail(task, error)
            raise
        took = self._clock() - begun
        self._blocks.note(observer, planned, results)
        for (task, chunk), result in zip(planned, results, strict=True):
            self._shares.charge(task.client, len(chunk))
            self._accept(task, chunk, result)
        if not parts:
            self._drafting.note([chunk for _, chunk in answers], took)
        read = sum(len(chunk) for _, chunk in parts)
        self._stall.note(took, read)
        self.records.stepped(took, read, len(answers))
        return True

    def _make_room(self) -> None:
        """Park the youngest jobs until the next token of every answer finds its page.

        They give their pages as others need them.
        """
        while (refusal := self._plan.refusal(self._running)) is not None:
            youngest = max(self._running, key=lambda task: task.age)
            if self._parking.make_room():
                continue
            if len(self._running) > 1:
                self._park(youngest)
            elif not self._parking.make_room(shared=True):
                self._fail(youngest, refusal)

    def _park(self, task: Task) -> None:
        """Take the memory of a job, which continues when there is room."""
        self._running.remove(task)
        self._parking.park(task)
        self.records.preempted()

    def _accept(self, task: Task, chunk: SequenceChunk, result: StepResult) -> None:
        """Take the result of a chunk; an error ends this job alone."""
        try:
            result.checked()
            if isinstance(chunk.accept, Verified):
                self._end_by(task, self._advance.verify(task, chunk.accept))
            elif task.call is None:
                self._choose(task, result)
            elif progress.read(task, chunk, result) and not self._advance.read_on(task):
                self._follow(task)
                self._choose(task, result)
        except MemoryBudgetError:  # others took the pages that it counted on
            self._park(task)
        except Exception as error:  # of the model, the constraint or the choice
            self._fail(task, error)

    def _follow(self, task: Task) -> None:
        """Begin the jobs that wait for the prompt that was just read."""
        for other in self._waiting:
            if self._has_room() and self._beginnings.follow(other, task):
                self._run(other)
                progress.follow(other, task)
                logits = self.engine.states.last_logits(other.sequence())
                self._attempt(other, lambda each, logits=logits: self._choose(each, logits))

    def _choose(self, task: Task, result: StepResult | np.ndarray) -> bool:
        """Note the next token of an answer, and end the job if it is the last."""
        self._end_by(task, self._advance.choose(task, result))
        return True

    def _end_by(self, task: Task, end: End | None) -> None:
        """End a job, if something ends it."""
        if end is not None:
            self._end(task, end)

    def _end(self, task: Task, end: End, error: SalaError | None = None) -> None:
        """End a job: keep the state of a whole answer, give back what it holds, and tell."""
        for tasks in (self._running, self._waiting):
            if task in tasks:
                tasks.remove(task)
        self._parking.forget(task)
        if task.call is not None:
            task.call.pause()  # it is closed next: there is nothing to go back for
            task.call = None
        if task.state is not None:
            if end in _WHOLE and task.state.length > len(task.prompt) and task.reuses:
                self.engine.keep(task.state)
            self.engine.states.close(task.state)
            task.state = None
        self._shares.leave(task.client)
        self.records.ended(task, end)
        self._blocks.tell(task)
        task.tell(Ended(end, error))
        self._ended.append(task)

    def _fail(self, task: Task, error: Exception) -> None:
        """End a job for an error."""
        self._end(task, End.FAILED, _reported(error))

    def _deliver(self) -> None:
        """Give every holder the events of this turn."""
        ended, self._ended = self._ended, []
        parked = self._parking.all()
        for task in [*self._running, *parked, *self._waiting.all(), *ended]:
            error = task.deliver()
            if error is not None:
                _LOG.error("the sink of a job raised %r: the job ends", error, exc_info=error)
        lists = {"running": self._running, "waiting": self._waiting, "parked": self._parking}
        self.records.turned({name: len(tasks) for name, tasks in lists.items()})
        for act in self.after_turns:
            act()


def _reported(error: Exception) -> SalaError:
    """The error as a caller is told; what is no SalaError is a mistake of ours, and logged."""
    if isinstance(error, SalaError):
        return error
    _LOG.error("a job failed", exc_info=error)
    return SalaError(f"the engine failed: {type(error).__name__}")
