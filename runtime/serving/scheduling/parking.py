"""Jobs that give their memory to others, and continue later with every bit."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import MemoryBudgetError, SalaError
from sala_compile.runtime.serving.scheduling.beginnings import growth
from sala_compile.runtime.serving.scheduling.parked_pages import ParkedPages
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.state.store import State
from sala_compile.runtime.state.text_history import TextHistory

_LOG = logging.getLogger(__name__)


class Parking:
    """Has the pages of jobs in files while others need the memory, and brings them back.

    At most a piece of them moves at a time, so that no running answer waits for more. What cannot
    be written, or is damaged, is computed again later, token by token as it was: prompts by
    reading, answers as generated text.
    """

    def __init__(
        self, engine: Engine, folder: str | None, fail: Callable[[Task, SalaError], None]
    ) -> None:
        """Files go to a folder, or to that of temporary files.

        `fail` ends a job that cannot continue.
        """
        self._engine = engine
        self._folder = folder
        self._fail = fail
        self._thread: ThreadPoolExecutor | None = None
        self._tasks: dict[Task, ParkedPages | None] = {}

    def __len__(self) -> int:
        """How many jobs are parked."""
        return len(self._tasks)

    def __contains__(self, task: Task) -> bool:
        """Whether a job is parked."""
        return task in self._tasks

    def all(self) -> list[Task]:
        """All that are parked, the oldest first."""
        return sorted(self._tasks, key=lambda task: task.age)

    def park(self, task: Task) -> None:
        """Stop a job that runs; its memory stays until others need it."""
        state = task.sequence()
        if task.call is not None:
            task.call.pause()
            task.call = None
        task.unread.clear()
        self._engine.store.trim(state)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sala-parking")
        self._tasks[task] = ParkedPages(self._engine, state, self._thread, self._folder)

    def make_room(self, *, shared: bool = False) -> bool:
        """Give a piece of the youngest job's pages to those that run; False if none is left.

        With `shared` also what those use that run, which frees nothing yet.
        """
        for task in reversed(self.all()):
            pages = self._tasks[task]
            try:
                if pages is not None and pages.let_go(shared=shared):
                    return True
            except (SalaError, OSError) as error:
                self._lose(task, error)
                return True
        return False

    def bring_back(self, task: Task, running: Sequence[Task]) -> bool:
        """Bring a piece of a job's pages back, all of them if nothing runs.

        Whether it has its state again, and what it has to read. False if there is no room now.
        """
        pages = self._tasks[task]
        try:
            if pages is None:
                self._begin_again(task, running)
            elif not self._is_back(task, pages, running):
                return False
        except MemoryBudgetError:
            return False
        except (SalaError, OSError) as error:
            self._lose(task, error)
            return False
        self.forget(task)
        task.unread.extend(_unread(task, task.sequence().length))
        return True

    def forget(self, task: Task) -> None:
        """Remove what was kept of a job, if it is parked."""
        pages = self._tasks.pop(task, None)
        if pages is not None:
            pages.close()

    def close(self) -> None:
        """Remove all files; nothing is parked any more."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _is_back(self, task: Task, pages: ParkedPages, running: Sequence[Task]) -> bool:
        """Take memory if there is room for all of a job, and bring pages back; whether all are."""
        if not pages.returning:
            state = task.sequence()
            self._require_room(task, state, running)
            pages.come_back(_length(task))
        while not pages.bring():
            if running:
                return False
        return True

    def _begin_again(self, task: Task, running: Sequence[Task]) -> None:
        """Let a job that lost its state have an empty one; MemoryBudgetError without room."""
        self._require_room(task, None, running)
        task.state = self._engine.states.open()
        task.state.salt = task.job.salt

    def _require_room(self, task: Task, state: State | None, running: Sequence[Task]) -> None:
        """MemoryBudgetError unless there are pages for all that a job has, and what runs."""
        admission, had = self._engine.admission, 0 if state is None else state.length
        demand = admission.call(state, _length(task) - had) + growth(self._engine, running)
        refusal = admission.refusal(demand)
        if refusal is not None:
            raise refusal

    def _lose(self, task: Task, error: Exception) -> None:
        """Have a job computed again whose pages are lost, or end it."""
        state, pages = task.sequence(), self._tasks[task]
        if pages is not None:
            pages.close()
        self._tasks[task] = None
        if _can_repeat(task, state.history):
            _LOG.warning("the state of a preempted job is computed again: %s", error)
            self._engine.states.close(state)
            task.state = None
            return
        refusal = MemoryBudgetError(
            "others need the memory of this answer, and its state cannot be kept",
            where=str(error),
            expected="room for states in the folder of temporary files",
            fix="try again; make room there, or give the server more --memory",
        )
        self._fail(task, refusal)


def _length(task: Task) -> int:
    """The tokens of a job that were computed, or are to be before it goes on."""
    return len(task.prompt) + max(0, len(task.answer) - 1)


def _can_repeat(task: Task, history: TextHistory) -> bool:
    """Whether a job's state is that of reading its prompt and answering."""
    return history in (TextHistory(), TextHistory(((len(task.prompt), True),)))


def _unread(task: Task, length: int) -> Iterator[tuple[np.ndarray, bool]]:
    """The texts after the first `length` tokens of a job, and whether they were generated."""
    if length < len(task.prompt):
        yield task.prompt[length:], False
    answer = np.array(task.answer[:-1], np.int32)[max(0, length - len(task.prompt)) :]
    if len(answer):
        yield answer, True
