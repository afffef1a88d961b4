"""Where a curve would go: a power law of its tokens, apart from what was measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SKIPPED = 0.1
"""The share of a curve, with the rise of the rate, that the law leaves out."""
GOALS = (20_000_000, 320_000_000)
"""Tokens of a stage: this command's default in all, and the published recipe's of alignment."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """value = `factor` * tokens ** -`exponent`."""

    factor: float
    exponent: float

    def at(self, tokens: Any) -> Any:
        """The value after so many tokens."""
        return self.factor * tokens**-self.exponent


def power_law(tokens: Sequence[float], values: Sequence[float]) -> PowerLaw | None:
    """The law of least squares in logarithms; None where the values do not fall, or are few."""
    first = int(len(tokens) * SKIPPED)
    x, y = (np.asarray(each[first:], np.float64) for each in (tokens, values))
    if len(x) < 10 or y.min() <= 0:
        return None
    slope, constant = np.polyfit(np.log(x), np.log(y), 1)
    return PowerLaw(math.exp(constant), -float(slope)) if slope < 0 else None
