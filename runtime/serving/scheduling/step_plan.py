"""What runs in the next step: a token of every answer, and parts of prompts."""

from collections.abc import Iterable, Iterator, Sequence

from sala_compile.runtime.engine.admission import Demand
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.scheduling.drafting import Drafting
from sala_compile.runtime.serving.scheduling.fair_queue import Shares
from sala_compile.runtime.serving.scheduling.stall_target import StallTarget
from sala_compile.runtime.serving.scheduling.task import Task

Planned = tuple[Task, SequenceChunk]
_MOST_LOGITS = 1 << 24
"""Logits of prompts that a step computes at most, if that is some rows."""


class StepPlan:
    """Fills steps: answers first, the rest of the tokens for those that read."""

    def __init__(
        self, engine: Engine, shares: Shares, stall: StallTarget, drafting: Drafting
    ) -> None:
        """For steps of an engine; readers take turns by `shares`, in parts by `stall`."""
        self._engine = engine
        self._drafting = drafting
        self._shares = shares
        self._stall = stall
        multiple = engine.stepper.target.read_multiple
        rows = _MOST_LOGITS // engine.limits.vocabulary
        self._rows = max(multiple, rows // multiple * multiple)
        self._least = multiple if engine.limits.chunk >= multiple else 1
        self._read_alone = False

    def next(self, running: Sequence[Task]) -> tuple[list[Planned], list[Planned]]:
        """The next token of every answer, with drafts after it, and the next parts of texts.

        Where a step has no room for a part next to the answers, they take turns.
        """
        answers = [task for task in running if task.call is None]
        reading = [task for task in running if task.call is not None]
        narrow = self._engine.limits.step_tokens - len(answers) < self._least
        self._read_alone = narrow and bool(reading) and not self._read_alone
        if self._read_alone:
            answers = []
        chunks = self._drafting.chunks(answers)
        chosen = [*zip(answers, chunks, strict=True)]
        return chosen, [*self._parts(reading, sum(map(len, chunks)))]

    def refusal(self, running: Sequence[Task]) -> SalaError | None:
        """Why the next tokens of all answers find no pages; None if they do."""
        states = [task.sequence() for task in running if task.call is None]
        page = self._engine.store.page_tokens
        begun = [state for state in states if state.length % page == 0]
        demands = (self._engine.admission.call(state, 1) for state in begun)
        return self._engine.admission.refusal(sum(demands, Demand())) if begun else None

    def _parts(self, reading: Iterable[Task], answering: int) -> Iterator[Planned]:
        """The next parts of texts, next to so many answers."""
        room = self._engine.limits.step_tokens - answering
        room, rows = min(room, self._stall.tokens(answering)), self._rows
        for task in sorted(reading, key=self._order):
            every_row = task.job.prompt_logprobs and not task.answer
            most = min(room, rows) if every_row else room
            assert task.call is not None
            chunk = task.call.next_chunk(most, every_row=every_row) if most > 0 else None
            if chunk is not None:
                room -= len(chunk)
                rows -= len(chunk) if every_row else 0
                yield task, chunk

    def _order(self, task: Task) -> tuple[float, ...]:
        """By shares, of one client that which has read the least: a short one passes a long one."""
        priority, served, number = self._shares.order(task)
        return priority, served, task.sequence().length - task.cached, number
