"""The thread that owns the engine."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import RequestError, SalaError
from sala_compile.runtime.serving.scheduling.check_job import check_job
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.work.event import End, Ended
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.measures import Measures
from sala_compile.runtime.serving.work.refusals import QueueFull, ServerFailed, ServerStopping

Result = TypeVar("Result")
_PATIENCE = 0.02
"""Seconds after which jobs that could not run are looked at again, if nobody wakes the thread."""
_LOG = logging.getLogger(__name__)
_FAILURES = 3
"""Turns in a row that fail before the engine counts as dead."""


class EngineThread:
    """Takes jobs from any thread, and takes the turns of a scheduler on its own."""

    def __init__(
        self,
        engine: Engine,
        options: SchedulingOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """For an engine that nobody else steps until the thread has stopped."""
        self._options = options or SchedulingOptions()
        self._engine = engine
        self._clock = clock
        self.measures = Measures()
        """The metrics of the server."""
        self._scheduler = Scheduler(engine, self._options, clock, self.measures)
        self._thread = threading.Thread(target=self._serve, name="sala-engine", daemon=True)
        self._changed = threading.Condition()
        self._arrivals: deque[tuple[Job, float]] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._waiting = 0
        self._woken = self._stuck = False
        self._draining = False
        self._stopping = False
        self._idle = True
        self._failures = 0
        self.failed: SalaError | None = None
        """Why nothing can be answered any more; None while all is well."""

    @property
    def ready(self) -> bool:
        """Whether jobs are taken."""
        return self._thread.is_alive() and not self._draining and self.failed is None

    def start(self) -> None:
        """Begin to take turns."""
        self._thread.start()

    def submit(self, *jobs: Job) -> None:
        """Let jobs wait for their turn, from any thread: all of them or, with an error, none.

        RequestError or MemoryBudgetError for what can never run, QueueFull while too many wait,
        ServerStopping or ServerFailed once no more are taken.
        """
        if len(jobs) > self._options.queue:
            raise RequestError(
                f"{len(jobs)} answers are requested at once",
                expected=f"at most {self._options.queue}, as many as may wait",
                fix="divide the request, or start the server with a larger --queue",
            )
        for job in jobs:
            check_job(self._engine, job)
        with self._changed:
            self._require_open()
            waiting = self._waiting + len(self._arrivals)
            if waiting + len(jobs) > self._options.queue:
                raise QueueFull(
                    f"{waiting} requests wait, at most {self._options.queue} may",
                    fix="try again later",
                    retry_after=max(1.0, self._scheduler.records.seconds_per_job),
                )
            now = self._clock()
            self._arrivals += ((job, now) for job in jobs)
            self._changed.notify_all()

    def after_turns(self, act: Callable[[], None]) -> None:
        """Have a function called after the sinks of each turn, on the engine's thread.

        It returns at once, and raises nothing.
        """
        self._scheduler.after_turns.append(act)

    def usage(self) -> Mapping[str, Any]:
        """What the server holds and does, as JSON values, at most a quarter of a second old.

        Jobs `running`, `waiting` and `parked`; `context` and `batch`; `memory` as planned, and what
        of its pools is used; the `prefix_cache`; `speed` in tokens per second of work.
        """
        return self._scheduler.records.usage

    def between_steps(self, errand: Callable[[Engine], Result]) -> "Future[Result]":
        """Have a function called with the engine between two steps; its result.

        Running answers wait for it. ServerStopping or ServerFailed once the thread takes none.
        """
        future: Future[Result] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(errand(self._engine))
                except Exception as error:  # belongs to the caller
                    future.set_exception(error)

        with self._changed:
            if self._stopping or self.failed is not None:
                raise self._refusal()
            self._errands.append(run)
            self._changed.notify_all()
        return future

    def wake(self) -> None:
        """Have a turn taken, from any thread: what it waited for may be there."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def drain(self, grace: float) -> bool:
        """Take no more jobs, and wait up to `grace` seconds for those that are there.

        Whether all have ended.
        """
        with self._changed:
            return self._drained(grace)

    def stop(self, grace: float = 0.0) -> None:
        """Drain, end the jobs that are left, and end the thread. A second time does nothing."""
        with self._changed:
            self._drained(grace)
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _drained(self, grace: float) -> bool:
        self._draining = True
        self._changed.notify_all()
        if grace > 0 and self._thread.is_alive():
            self._changed.wait_for(self._is_done, grace)
        return self._is_done()

    def _require_open(self) -> None:
        if self._draining or self.failed is not None:
            raise self._refusal()

    def _refusal(self) -> SalaError:
        if self.failed is not None:
            return ServerFailed("the engine failed", where=str(self.failed))
        return ServerStopping("the server ends", fix="try another one, or later")

    def _is_done(self) -> bool:
        return self._idle and not self._arrivals

    def _serve(self) -> None:
        """Take turns until the thread is to stop, and end what is left."""
        try:
            while self._awaken():
                self._turn()
        except BaseException as error:  # a mistake of ours: nobody may wait for an answer
            _LOG.critical("the engine's thread failed", exc_info=error)
            self.failed = _as_error(error)
        finally:
            self._scheduler.end_all(End.FAILED if self.failed else End.SHUTDOWN, self.failed)
            self._leave()

    def _turn(self) -> None:
        """Take a turn; a few may fail in a row."""
        try:
            stepped = self._scheduler.turn()
        except Exception as error:  # the device, or a mistake of ours
            self._note_failure(error)
            return
        self._stuck = self._scheduler.busy and not stepped
        if stepped:
            self._failures = 0

    def _awaken(self) -> bool:
        """Wait for work and take it; False if the thread is to stop."""
        with self._changed:
            self._waiting, self._idle = self._scheduler.waiting, not self._scheduler.busy
            self._changed.notify_all()
            self._changed.wait_for(self._has_work, _PATIENCE if self._scheduler.busy else None)
            self._woken = self._stuck = self._idle = False
            jobs, self._arrivals = self._arrivals, deque()
            errands, self._errands = self._errands, deque()
            for job, arrived in jobs:
                self._add(job, arrived)
            self._waiting = self._scheduler.waiting
            stopping = self._stopping
        for errand in errands:
            errand()
        return not stopping

    def _add(self, job: Job, arrived: float) -> None:
        """Hand a job to the scheduler; one that it fails to take ends."""
        try:
            self._scheduler.add(job, arrived)
        except Exception as error:
            _LOG.error("a job could not be taken", exc_info=error)
            with suppress(Exception):  # whatever a caller's function raises
                job.sink([Ended(End.FAILED, _as_error(error))])

    def _has_work(self) -> bool:
        called = self._arrivals or self._errands or self._stopping or self._woken
        return bool(called) or (self._scheduler.ready and not self._stuck)

    def _leave(self) -> None:
        """Refuse what came too late, and let nobody wait."""
        with self._changed:
            self._stopping = self._draining = self._idle = True
            jobs, self._arrivals = self._arrivals, deque()
            errands, self._errands = self._errands, deque()
            self._changed.notify_all()
        for job, arrived in jobs:
            self._add(job, arrived)
        self._scheduler.end_all(End.FAILED if self.failed else End.SHUTDOWN, self.failed)
        for errand in errands:
            errand()

    def _note_failure(self, error: Exception) -> None:
        """Go on after a failure, unless it is one of several in a row."""
        _LOG.error("a step failed", exc_info=error)
        self._failures += 1
        if self._failures < _FAILURES:
            return
        self.failed = _as_error(error)
        self._scheduler.end_all(End.FAILED, self.failed)


def _as_error(error: BaseException) -> SalaError:
    return error if isinstance(error, SalaError) else SalaError(f"the engine failed: {error!r}")
