"""How far a rounding moves the logits of some tokens."""

import numpy as np

from sala_compile.runtime.artifact import LogitEffect


def logit_effect(wide: np.ndarray, rounded: np.ndarray) -> LogitEffect:
    """The differences between logits [tokens, vocabulary] without a rounding and with it."""
    moved = rounded - wide
    return LogitEffect(
        tokens=len(wide),
        largest=four_digits(np.abs(moved).max()),
        rms=four_digits(np.sqrt(np.mean(moved**2))),
        deviation=four_digits(wide.std()),
        changed=int(np.count_nonzero(wide.argmax(axis=1) != rounded.argmax(axis=1))),
    )


def four_digits(value: float) -> float:
    """A number as it is written down."""
    return float(f"{value:.4g}")
