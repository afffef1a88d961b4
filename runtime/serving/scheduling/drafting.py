"""Drafted tokens of answers: what a step verifies, and what of it remains."""

from collections.abc import Sequence

import numpy as np

from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.engine.logit_check import require_numbers
from sala_compile.runtime.generation.speculation import Speculation
from sala_compile.runtime.generation.step_costs import StepCosts
from sala_compile.runtime.serving.scheduling import job_progress as progress
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.event import End


class Verified:
    """The drafted tokens of one answer in one step: chooses its next tokens, as `Accept` does."""

    def __init__(self, task: Task, token_ids: np.ndarray, context: int) -> None:
        self._task = task
        self._context = context
        self.token_ids = token_ids
        self.chosen: list[int] = []
        self.end: End | None = None
        self.error: Exception | None = None

    def __call__(self, logits: np.ndarray) -> int:
        """How many of the tokens remain; an error is kept for later, since others run too."""
        task, first = self._task, self._task.sequence().length - len(self.token_ids)
        for row, after in enumerate(logits):
            try:
                require_numbers(after[None], first + row)
                self.end = progress.choose(task, after, self._context)
            except Exception as error:
                self.error = error
                return row + 1
            self.chosen.append(task.token)
            following = self.token_ids[row + 1 : row + 2]
            if self.end is not None or following.tolist() != [task.token]:
                return row + 1
        raise AssertionError("nothing follows the last row")


class Drafting:
    """Drafts for the answers of a step, as many as pay and the engine was loaded for."""

    def __init__(self, engine: Engine) -> None:
        """Costs are those of the engine's steps."""
        self._engine = engine
        self._costs = StepCosts()

    def chunks(self, answers: Sequence[Task]) -> list[SequenceChunk]:
        """The next token of every answer, with drafts where no answer is observed."""
        left = self._engine.limits.drafts
        if any(task.job.observe for task in answers):
            left = 0
        left = min(left, self._engine.limits.step_tokens - len(answers))
        found: list[SequenceChunk] = []
        for number, task in enumerate(answers):
            drafts = self._drafts(task, left // (len(answers) - number), len(answers))
            left -= len(drafts)
            found.append(self._chunk(task, drafts))
        return found

    def note(self, chunks: Sequence[SequenceChunk], seconds: float) -> None:
        """Note what a step took that did nothing else."""
        if chunks and self._engine.limits.drafts:
            self._costs.note(sum(map(len, chunks)), seconds)

    def observe(self, task: Task, chosen: Sequence[int]) -> None:
        """Note the tokens that a step chose for an answer."""
        if task.speculation is not None:
            task.speculation.observe(chosen)

    def _drafts(self, task: Task, most: int, answers: int) -> list[int]:
        """Tokens that may follow the next one, on the pages that it needs anyway."""
        if most <= 0 or task.draws:
            return []
        state, page = task.sequence(), self._engine.store.page_tokens
        left = task.job.max_new_tokens - len(task.answer) - 1
        most = min(most, self._engine.draft_room(state), page - 1 - state.length % page, left)
        if most <= 0:
            return []
        if task.speculation is None:
            task.speculation = Speculation([*task.prompt, *task.answer])
        return task.speculation.draft(most, self._costs.slope(answers))

    def _chunk(self, task: Task, drafts: Sequence[int]) -> SequenceChunk:
        state = task.sequence()
        if not drafts:
            return SequenceChunk.decode(state, task.token, task.choice.draw())
        ids = np.array([task.token, *drafts], np.int32)
        return SequenceChunk.verify(state, ids, Verified(task, ids, self._engine.limits.context))
