"""Which jobs run in the next step of the engine."""

import time
from collections.abc import Callable
from itertools import count

import numpy as np

from sala_compile.runtime.engine.chunk import SequenceChunk, StepResult
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import MemoryBudgetError, SalaError
from sala_compile.runtime.serving.scheduling import job_progress as progress
from sala_compile.runtime.serving.scheduling.admittance import Admittance
from sala_compile.runtime.serving.scheduling.advance import Advance
from sala_compile.runtime.serving.scheduling.block_reads import BlockReads
from sala_compile.runtime.serving.scheduling.drafting import Drafting, Verified
from sala_compile.runtime.serving.scheduling.endings import Endings
from sala_compile.runtime.serving.scheduling.fair_queue import Shares
from sala_compile.runtime.serving.scheduling.job_lists import JobLists
from sala_compile.runtime.serving.scheduling.records import Records
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.scheduling.stall_target import StallTarget
from sala_compile.runtime.serving.scheduling.step_plan import StepPlan
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.scheduling.token_choice import TokenChoice
from sala_compile.runtime.serving.work.event import End
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.measures import Measures


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
        self._jobs = JobLists(self._shares, engine.limits.batch)
        self._stall = StallTarget(chosen.max_stall, multiple, engine.limits.chunk)
        self._drafting = Drafting(engine)
        self._plan = StepPlan(engine, self._shares, self._stall, self._drafting)
        self._blocks = BlockReads(engine)
        self.records = Records(engine, measures or Measures(), clock)
        self._advance = Advance(engine, self._drafting, self.records)
        self._endings = Endings(engine, self._jobs, chosen.parking, self._blocks, self.records)
        self._parking = self._endings.parking
        self._admittance = Admittance(
            engine, self._jobs, self._endings, self._advance, self.records, clock
        )
        self.after_turns: list[Callable[[], None]] = []
        """Called when the sinks of a turn have been, whatever became of it."""

    @property
    def waiting(self) -> int:
        """How many jobs wait to begin."""
        return len(self._jobs.waiting)

    @property
    def busy(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._jobs.waiting or self._jobs.running or self._parking)

    @property
    def ready(self) -> bool:
        """Whether a turn would do anything now, and not only when a disk has done its part."""
        recalls = self._admittance.recalls
        waits = all(recalls.awaits(task) for task in self._jobs.waiting.all())
        return bool(self._jobs.running or self._parking or recalls.moving or not waits)

    def add(self, job: Job, arrived: float | None = None) -> None:
        """Let a checked job wait for its turn; it `arrived` now unless that is given."""
        choice = TokenChoice(job, self.engine.limits.vocabulary, self.engine.stepper)
        now = self._clock() if arrived is None else arrived
        task = Task(job, next(self._numbers), now, choice)
        draw = choice.draw() if job.max_new_tokens else None
        task.draws = () if draw is None else (draw,)
        self._jobs.add(task)

    def turn(self) -> bool:
        """End what is to end, admit what fits, run one step, and tell the holders.

        Whether a step ran. Raises what the engine raises; the jobs of its step have ended then.
        """
        try:
            self._sweep()
            self._admittance.resume()
            self._admittance.admit()
            return self._step()
        finally:
            self._deliver()
            self._admittance.recalls.move()

    def end_all(self, end: End, error: SalaError | None = None) -> None:
        """End every job, and tell the holders."""
        for task in [*self._jobs.waiting.all(), *self._parking.all(), *self._jobs.running]:
            self._endings.end(task, end, error)
        self._deliver()
        self._parking.close()

    def _sweep(self) -> None:
        """End the jobs that were cancelled, and those whose time is over."""
        now = self._clock()
        for task in [*self._jobs.running, *self._parking.all(), *self._jobs.waiting.all()]:
            self._endings.end_by(task, task.ended(now))

    def _step(self) -> bool:
        """Run one step: all answers, and parts of prompts; whether there were some."""
        self._make_room()
        answers, parts = self._plan.next(self._jobs.running)
        planned = [*answers, *parts]
        if not planned:
            return False
        begun, observer = self._clock(), self._blocks.observer(planned)
        try:
            results = self.engine.step([chunk for _, chunk in planned], observer=observer)
        except Exception as error:
            self.records.failed()
            for task, _ in planned:
                self._endings.fail(task, error)
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
        running = self._jobs.running
        while (refusal := self._plan.refusal(running)) is not None:
            youngest = max(running, key=lambda task: task.age)
            if self._parking.make_room():
                continue
            if len(running) > 1:
                self._park(youngest)
            elif not self._parking.make_room(shared=True):
                self._endings.fail(youngest, refusal)

    def _park(self, task: Task) -> None:
        """Take the memory of a job, which continues when there is room."""
        self._jobs.running.remove(task)
        self._parking.park(task)
        self.records.preempted()

    def _accept(self, task: Task, chunk: SequenceChunk, result: StepResult) -> None:
        """Take the result of a chunk; an error ends this job alone."""
        try:
            result.checked()
            if isinstance(chunk.accept, Verified):
                self._endings.end_by(task, self._advance.verify(task, chunk.accept))
            elif task.call is None:
                self._choose(task, result)
            elif progress.read(task, chunk, result) and not self._advance.read_on(task):
                self._follow(task)
                self._choose(task, result)
        except MemoryBudgetError:  # others took the pages that it counted on
            self._park(task)
        except Exception as error:  # of the model, the constraint or the choice
            self._endings.fail(task, error)

    def _follow(self, task: Task) -> None:
        """Choose the first tokens of the jobs that waited for the prompt that was just read."""
        for other in self._admittance.followers(task):
            logits = self.engine.states.last_logits(other.sequence())
            self._admittance.attempt(other, lambda each, row=logits: self._choose(each, row))

    def _choose(self, task: Task, result: StepResult | np.ndarray) -> bool:
        """Note the next token of an answer, and end the job if it is the last."""
        self._endings.end_by(task, self._advance.choose(task, result))
        return True

    def _deliver(self) -> None:
        """Give every holder the events of this turn."""
        parked, jobs = self._parking.all(), self._jobs
        jobs.deliver(parked)
        lists = {"running": jobs.running, "waiting": jobs.waiting, "parked": parked}
        self.records.turned({name: len(tasks) for name, tasks in lists.items()})
        for act in self.after_turns:
            act()
