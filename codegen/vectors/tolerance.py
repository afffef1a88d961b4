"""How near a kernel must come to the reference, which rounds where the graph says.

A reduction in float32 differs by its order, and a value may so fall on the other side of a
rounding to bfloat16; both are measured against the largest expected value.
"""

from dataclasses import dataclass

import numpy as np

EXACT_PART = 2e-5
"""Part of the largest value that is allowed if nothing is rounded to bfloat16."""
BFLOAT16_STEP = 2.0**-7
"""Relative: two steps of bfloat16."""
ROUNDED_PART = 4e-3
"""Part of the largest value that is allowed if operands or probabilities are bfloat16."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """|found - expected| <= absolute + relative * |expected|."""

    absolute: float
    relative: float


def tolerance(expected: np.ndarray, *, rounds: bool) -> Tolerance:
    """What is allowed; `rounds` where the operation or its result has bfloat16 in it."""
    finite = np.abs(expected[np.isfinite(expected)])
    largest = float(finite.max(initial=0.0))
    if rounds:
        return Tolerance(ROUNDED_PART * largest, BFLOAT16_STEP)
    return Tolerance(EXACT_PART * largest, EXACT_PART)
