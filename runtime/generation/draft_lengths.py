"""How many drafted tokens pay: by how often drafts were right, and by what a step costs."""

from collections.abc import Sequence

import numpy as np

PRIORS = (0.3, 0.45, 0.6, 0.75, 0.88, 0.93)
"""How often a drafted token is right if 3, from 4, 8, 16, 32, 64 tokens before it are shared."""
WEIGHT = 4.0
"""Observations that a prior counts for."""
MEMORY = 0.9
"""What an observation still counts after the next one."""
RETURN = 1 / 512
"""How far an estimate returns to its prior with each token that it kept from being drafted."""
LEAST_GAIN = 1.05
"""What a step with drafts must promise over one without."""


class DraftLengths:
    """Chooses how many tokens to draft, from what became of drafts so far.

    A drafted token is right with a probability p that depends on how much of the text before it is
    shared, so that k drafts give (1 - p^(k+1)) / (1 - p) tokens. A step costs 1 + slope k.
    """

    def __init__(self, priors: Sequence[float] = PRIORS) -> None:
        """With what is taken for p before anything was observed, by the class of shared tokens."""
        self._priors = priors
        self._right = np.array(priors) * WEIGHT
        self._seen = np.full(len(priors), WEIGHT)

    def best(self, shared: int, most: int, slope: float) -> int:
        """The number of drafts, 0 to `most`, with the most tokens for the time of a step."""
        return self.promise(shared, most, slope)[0]

    def promise(self, shared: int, most: int, slope: float) -> tuple[int, float]:
        """That number, and how many times as fast tokens come with it, 1 for no drafts."""
        kind = self._kind(shared)
        p = min(0.999, float(self._right[kind] / self._seen[kind]))
        drafts = np.arange(most + 1)
        gain = (1 - p ** (drafts + 1)) / (1 - p) / (1 + slope * drafts)
        if gain.max() >= LEAST_GAIN:
            return int(gain.argmax()), float(gain.max())
        toward = self._priors[kind] * self._seen[kind] - self._right[kind]
        self._right[kind] += RETURN * toward
        return 0, 1.0

    def observe(self, shared: int, drafted: int, right: int) -> None:
        """Note that of so many drafts the first `right` held."""
        kind = self._kind(shared)
        self._right[kind] = MEMORY * self._right[kind] + right
        self._seen[kind] = MEMORY * self._seen[kind] + right + (right < drafted)

    def _kind(self, shared: int) -> int:
        """The class of a number of shared tokens, from 3 on."""
        return min(max(shared, 3).bit_length() - 2, len(self._priors) - 1)
