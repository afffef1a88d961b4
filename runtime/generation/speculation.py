"""Speculation on one text: what to draft, and what became of it."""

from collections.abc import Sequence

import numpy as np

from sala_compile.runtime.generation.draft_lengths import DraftLengths
from sala_compile.runtime.generation.text_drafts import Draft, TextDrafts


class Speculation:
    """Drafts for a text that grows step by step."""

    def __init__(self, token_ids: Sequence[int] | np.ndarray) -> None:
        """For the text so far, the last chosen token included."""
        self._drafts = TextDrafts(token_ids)
        self._lengths = DraftLengths()
        self._newest: Draft | None = None

    def draft(self, most: int, slope: float) -> list[int]:
        """Tokens for the next step to verify, none where they would cost more than they save.

        `most` tokens; each adds the part `slope` to the step without them.
        """
        self._newest = None
        found = self._drafts.draft(most) if most > 0 else None
        if found is None:
            return []
        count = self._lengths.best(found.shared, len(found.token_ids), slope)
        if count:
            self._newest = Draft(found.token_ids[:count], found.shared)
        return found.token_ids[:count]

    def observe(self, chosen: Sequence[int]) -> None:
        """Note the tokens that the step after `draft` chose."""
        for token in chosen:
            self._drafts.add(token)
        newest, self._newest = self._newest, None
        if newest is not None:
            self._lengths.observe(newest.shared, len(newest.token_ids), len(chosen) - 1)
