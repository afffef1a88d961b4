"""Drafts from a second, smaller model that follows the text."""

import time
from collections.abc import Sequence
from types import TracebackType

from sala_compile.runtime.generation.draft_lengths import DraftLengths
from sala_compile.runtime.sequence import TokenSequence

PRIOR = 0.7
"""How often a token of the draft model is taken to be right, before any was verified."""
COST = 0.25
"""What a token of it is taken to cost, as a part of a step of the model, before any was drafted."""
MEMORY = 0.9
"""What a drafted token's time still counts after the next one."""


class ModelDrafts:
    """Greedy tokens of a draft model for a text that grows.

    Its sequence holds the text up to the newest token that was read for good, with a snapshot
    there; what it drafted is dropped before the next draft, whether it was right or not, and right
    tokens are read again in the step that reads the new ones.
    """

    def __init__(self, sequence: TokenSequence) -> None:
        """For an empty sequence of the draft model, which has room for one snapshot of it."""
        self.sequence = sequence
        self.lengths = DraftLengths((PRIOR,))
        self._kept = 0
        self._seconds = 0.0

    def cost(self, step_seconds: float) -> float:
        """What one token costs, as a part of a step of `step_seconds`."""
        if not (self._seconds and step_seconds):
            return COST
        return self._seconds / step_seconds

    def has_room(self, tokens: int) -> bool:
        """Whether a text of so many tokens fits the context of the draft model."""
        return tokens <= self.sequence.engine.limits.context

    def read(self, text: Sequence[int]) -> None:
        """Hold exactly `text`, which begins with the text of the call before."""
        self.sequence.truncate(self._kept)
        if len(text) == self._kept:
            return
        # A few tokens get the bits of single steps: the state is that of a text without drafts.
        self.sequence.append(list(text[self._kept :]), generated=self._kept > 0)
        self.sequence.drop_snapshot(self._kept)
        self._kept = self.sequence.snapshot()

    def draft(self, text: Sequence[int], count: int) -> list[int]:
        """`count` tokens that may follow `text`, which fit; the first costs what reading costs."""
        self.read(text)
        logits = self.sequence.last_logits
        found = [int(logits.argmax())]
        while len(found) < count:
            began = time.perf_counter()
            logits = self.sequence.append(found[-1:], generated=True)
            self._note(time.perf_counter() - began)
            found.append(int(logits.argmax()))
        return found

    def _note(self, seconds: float) -> None:
        known = self._seconds or seconds
        self._seconds = MEMORY * known + (1 - MEMORY) * min(seconds, 3 * known)

    def __enter__(self) -> "ModelDrafts":
        """The drafts themselves."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the sequence back."""
        self.sequence.close()
