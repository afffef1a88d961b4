"""Operands of kernels that are columns of one buffer, with foreign columns before and after."""

from collections.abc import Mapping

import numpy as np

from tests.support.steps import EXTRA, padded, poisoned

MARGIN = 5
"""Foreign columns before the first operand."""


def column_starts(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """`x_start` and `x_pitch` of operands side by side, and the pitch of their buffer."""
    starts = np.cumsum([MARGIN, *sizes.values()]).tolist()
    pitch = padded(starts[-1] + 1)
    views = {f"{name}_start": start for name, start in zip(sizes, starts, strict=False)}
    return views | {f"{name}_pitch": pitch for name in sizes}, pitch


def side_by_side(tokens: int, sizes: Mapping[str, int], random: np.random.Generator) -> np.ndarray:
    """Normal numbers [tokens, columns] in a buffer that is poisoned wherever nobody may read."""
    _, pitch = column_starts(sizes)
    end = MARGIN + sum(sizes.values())
    merged = poisoned(tokens + EXTRA, pitch)
    merged[:tokens, MARGIN:end] = random.standard_normal((tokens, end - MARGIN))
    return merged
