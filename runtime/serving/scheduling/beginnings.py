"""How jobs get their sequences: with all that is known of their prompts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sala_compile.runtime.engine.admission import Demand
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.job import Reuse
from sala_compile.runtime.state.prefix_tree import Entry
from sala_compile.runtime.state.store import State


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a prompt: a kept prefix, or a running answer that is longer."""

    entry: Entry | None = None
    live: State | None = None

    @property
    def length(self) -> int:
        """Its tokens."""
        if self.live is not None:
            return self.live.length
        return 0 if self.entry is None else self.entry.length


class Beginnings:
    """Begins jobs: with a kept prefix, or as a fork of one that runs.

    A job does not begin while another one reads what it would have to read as well.
    """

    def __init__(self, engine: Engine) -> None:
        """For the sequences of an engine."""
        self._engine = engine
        self._page = engine.store.page_tokens

    def awaited(self, task: Task, running: Iterable[Task]) -> Task | None:
        """The running job that reads the beginning of a prompt, which is worth waiting for.

        It is told to have the state kept where the prompts part.
        """
        meetings = ((self._meeting(task, other), other) for other in running)
        length, best = max(meetings, key=lambda each: each[0], default=(0, None))
        if best is None or best.call is None:
            return None
        new = length - self._known(task, ()).length
        if length < len(task.prompt) and new < self._page:
            return None
        best.call.keep_at(length)
        return best

    def begin(self, task: Task, running: Sequence[Task]) -> bool:
        """Begin to read a prompt; False if there is no room now, for it and what runs."""
        known = self._known(task, running)
        demand = self._demand(task, known) + growth(self._engine, running)
        if self._engine.admission.refusal(demand) is not None:
            return False
        states, live = self._engine.states, known.live
        try:
            state = states.open() if live is None else states.fork(live)
        except MemoryBudgetError:
            return False
        state.salt = task.job.salt
        try:
            call = self._engine.append(
                state,
                task.prompt[state.length :],
                draws=task.draws,
                reuse=task.reuses,
                exact=task.job.reuse is Reuse.READ,
            )
        except MemoryBudgetError:
            states.close(state)
            return False
        task.state, task.call = state, call
        task.cached = 0 if call.report is None else call.report.reused_tokens
        task.cached += 0 if live is None else live.length
        return True

    def follow(self, task: Task, other: Task) -> bool:
        """Begin after the prompt that another job has just read.

        False if the prompt is another one, or there is no room.
        """
        if not self._follows(task, other):
            return False
        try:
            task.state = self._engine.states.fork(other.sequence())
        except MemoryBudgetError:
            return False
        task.cached = len(task.prompt)
        return True

    def _follows(self, task: Task, other: Task) -> bool:
        """Whether a job can begin where another one is when it has read its prompt."""
        one, its = task.job, other.job
        if task.draws:
            return False
        told = its.prompt_logprobs and (its.logprobs or 0) == (one.logprobs or 0)
        usable = self._usable(task, other) and (told or not one.prompt_logprobs)
        return usable and np.array_equal(task.prompt, other.prompt)

    def _meeting(self, task: Task, other: Task) -> int:
        """The tokens of a prompt that another job will have read where its state can be had.

        0 if it does not read them, or has done so.
        """
        if other.call is None or not self._usable(task, other):
            return 0
        if self._follows(task, other):
            return len(task.prompt)
        if self._engine.prefix is None or not task.reuses or self._path(task) != self._path(other):
            return 0
        unit = self._engine.prefix.unit
        common = _common(task.prompt[:-1], other.prompt)
        point = common // unit * unit
        return point if point > other.sequence().length else 0

    def _known(self, task: Task, running: Iterable[Task]) -> _Known:
        """The longest known beginning of a prompt, among those that are kept and that run."""
        if not task.reuses:
            return _Known()
        exact, path = task.job.reuse is Reuse.READ, self._path(task)
        entry, prefix = None, self._engine.prefix
        if prefix is not None:
            if task.texts is None:
                task.texts = prefix.texts(task.prompt, path, task.job.salt)
            entry = prefix.longest(
                task.prompt, path, exact=exact, salt=task.job.salt, texts=task.texts
            )
        best = _Known(entry)
        for other in running if not exact else ():
            live, longer = other.sequence(), other.sequence().length > best.length
            usable = other.call is None and longer and live.salt == task.job.salt
            if usable and self._continues(task.prompt, live, path):
                best = _Known(live=live)
        return best

    def _usable(self, task: Task, other: Task) -> bool:
        """Whether what another job computes is what this one may reuse."""
        if task.job.reuse is Reuse.NONE or task.job.salt != other.job.salt:
            return False
        return task.job.reuse is not Reuse.READ or other.sequence().history.exact

    def _path(self, task: Task) -> str:
        """The attention path on which a prompt is read."""
        return self._engine.stepper.rule.path(len(task.prompt))

    def _continues(self, prompt: np.ndarray, state: State, path: str) -> bool:
        """Whether a prompt begins with all that a state has, on the same path."""
        length = state.length
        if not 0 < length < len(prompt) or state.spans.ends != ((length, path),):
            return False
        if not state.history.continues(length, self._engine.stepper.target.read_multiple):
            return False
        known = self._engine.store.token_ids(state)
        return state.unknown is None and np.array_equal(known, prompt[:length])

    def _demand(self, task: Task, known: _Known) -> Demand:
        """The rows that a prompt takes."""
        store, prefix, length = self._engine.store, self._engine.prefix, len(task.prompt)
        rows = Counter(store.missing(None, length))
        if known.live is not None:
            for table in store.groups.tables.values():
                rows[table.pool.name] -= known.live.length // table.page_tokens
        elif known.entry is not None and prefix is not None:
            rows = Counter(prefix.missing(known.entry, length))
        rows[store.slots.name] = 1
        return Demand(rows=rows)


def growth(engine: Engine, running: Iterable[Task]) -> Demand:
    """A page more in each group for every running job that will need one."""
    rows: Counter[str] = Counter()
    for task in running:
        pages = task.sequence().pages
        end = min(engine.limits.context, len(task.prompt) + task.job.max_new_tokens)
        for name, table in engine.store.groups.tables.items():
            rows[table.pool.name] += int(table.covering(end) > len(pages[name]))
    return Demand(rows=rows)


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """How many of the first tokens are equal."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
