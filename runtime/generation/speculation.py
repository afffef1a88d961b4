"""Speculation on one text: what to draft, and what became of it."""

from collections.abc import Sequence

import numpy as np

from sala_compile.runtime.generation.draft_lengths import DraftLengths
from sala_compile.runtime.generation.model_drafts import ModelDrafts
from sala_compile.runtime.generation.text_drafts import TextDrafts


class Speculation:
    """Drafts for a text that grows step by step.

    They come from the text itself or from a draft model, whichever promises more tokens for the
    time of a step with it.
    """

    def __init__(
        self, token_ids: Sequence[int] | np.ndarray, model: ModelDrafts | None = None
    ) -> None:
        """For the text so far, the last chosen token included."""
        self._text = [int(token) for token in token_ids] if model is not None else []
        self._drafts = TextDrafts(token_ids)
        self._lengths = DraftLengths()
        self._model = model
        self._drafted: tuple[DraftLengths, int, int] | None = None

    def draft(self, most: int, slope: float, step_seconds: float = 0.0) -> list[int]:
        """Tokens for the next step to verify, none where they would cost more than they save.

        `most` tokens; each adds the part `slope` to the step without them, which takes
        `step_seconds` (0 if that is not known), against which a draft model's time is compared.
        """
        self._drafted = None
        found = self._drafts.draft(most) if most > 0 else None
        count, gain = 0, 1.0
        if found is not None:
            count, gain = self._lengths.promise(found.shared, len(found.token_ids), slope)
        if self._model is not None and most > 0:
            own, promised = self._promised(self._model, most, slope, step_seconds)
            if promised > gain:
                self._drafted = self._model.lengths, 0, own
                return self._model.draft(self._text, own)
        if found is None or not count:
            return []
        self._drafted = self._lengths, found.shared, count
        return found.token_ids[:count]

    def observe(self, chosen: Sequence[int]) -> None:
        """Note the tokens that the step after `draft` chose."""
        for token in chosen:
            self._drafts.add(token)
        if self._model is not None:
            self._text += chosen
        drafted, self._drafted = self._drafted, None
        if drafted is not None:
            lengths, shared, count = drafted
            lengths.observe(shared, count, len(chosen) - 1)

    def _promised(
        self, model: ModelDrafts, most: int, slope: float, step_seconds: float
    ) -> tuple[int, float]:
        """How many tokens of the draft model pay, and what they promise."""
        if not model.has_room(len(self._text) + most):
            return 0, 1.0
        return model.lengths.promise(0, most, slope + model.cost(step_seconds))
