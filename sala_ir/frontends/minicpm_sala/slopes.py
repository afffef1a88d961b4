"""Decay slopes of the Lightning heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lightning_slopes(num_heads: int) -> NDArray[np.float32]:
    """Slope of each head, float32 [num_heads]; a head's state decays by exp(-slope) per token.

    For a power of two H slope_h = 2^(-8 (h + 1) / H). Otherwise the first p heads, p the largest
    power of two below H, are those of p heads, and head p + i has 2^(-8 (2 i + 1) / (2 p)).
    The slopes do not depend on the layer.
    """
    power = 1 << (num_heads.bit_length() - 1)
    first = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    rest = 2.0 ** (-8.0 * (2 * np.arange(num_heads - power) + 1) / (2 * power))
    return np.concatenate([first, rest]).astype(np.float32)
