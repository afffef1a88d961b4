"""Which jobs begin to run: parked ones come back, waiting ones begin, while there is room."""

from collections.abc import Callable, Iterator

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.serving.scheduling import job_progress as progress
from sala_compile.runtime.serving.scheduling.advance import Advance
from sala_compile.runtime.serving.scheduling.beginnings import Beginnings
from sala_compile.runtime.serving.scheduling.endings import Endings
from sala_compile.runtime.serving.scheduling.job_lists import JobLists
from sala_compile.runtime.serving.scheduling.recalls import Recalls
from sala_compile.runtime.serving.scheduling.records import Records
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.event import Started


class Admittance:
    """Lets jobs run, as long as the batch has room and their pages are free."""

    def __init__(
        self,
        engine: Engine,
        jobs: JobLists,
        endings: Endings,
        advance: Advance,
        records: Records,
        clock: Callable[[], float],
    ) -> None:
        """For the jobs of an engine; one that cannot begin for an error is ended."""
        self._jobs = jobs
        self._endings = endings
        self._advance = advance
        self._records = records
        self._clock = clock
        self._beginnings = Beginnings(engine)
        self.recalls = Recalls(engine)
        """Prefixes of waiting jobs on their way from the lower tier."""

    def resume(self) -> None:
        """Bring parked jobs back, the oldest first, while there is room."""
        for task in self._endings.parking.all():
            if not self._jobs.has_room() or not self.attempt(task, self._bring_back):
                return

    def admit(self) -> None:
        """Begin waiting jobs in their turn, while the step has room and their pages are free.

        A job whose prompt another one reads waits for that, and one whose prefix comes from the
        lower tier for it; they let others go first. Nobody begins before those that are parked.
        """
        if self._endings.parking:
            return
        coming = 0
        for task in self._jobs.waiting:
            if not self._jobs.has_room(coming):
                return
            if self.recalls.begin(task):
                coming += 1
                continue
            awaited = self._beginnings.awaited(task, self._jobs.running)
            if awaited is None and not self.attempt(task, self._begin):
                return

    def followers(self, task: Task) -> Iterator[Task]:
        """Begin the jobs that wait for the prompt that was just read, one after the other."""
        for other in self._jobs.waiting:
            if self._jobs.has_room() and self._beginnings.follow(other, task):
                self._run(other)
                progress.follow(other, task)
                yield other

    def attempt(self, task: Task, act: Callable[[Task], bool]) -> bool:
        """Do something for a job, which an error ends; False if there is no room now."""
        try:
            return act(task)
        except Exception as error:
            self._endings.fail(task, error)
            return True

    def _bring_back(self, task: Task) -> bool:
        """Let a parked job run again; False if there is no room now."""
        if not self._endings.parking.bring_back(task, self._jobs.running):
            return False
        self._jobs.running.append(task)
        self._advance.read_on(task)
        return True

    def _begin(self, task: Task) -> bool:
        """Begin to read the prompt of a job; False if there is no room now."""
        if not self._beginnings.begin(task, self._jobs.running):
            return False
        self._run(task)
        return True

    def _run(self, task: Task) -> None:
        """Note that a waiting job runs."""
        self._jobs.run(task)
        task.tell(Started(task.cached, self._clock() - task.arrived))
        self._records.began(task)
