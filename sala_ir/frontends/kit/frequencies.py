"""Inverse frequencies of rotary embeddings: what an angle grows by from token to token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def inverse_frequencies(theta: float, dimensions: int) -> NDArray[np.float32]:
    """Return theta^(-2i/R) for i < R/2, R the rotated dimensions of a head.

    Each of the three steps is rounded to float32, as torch computes them.
    """
    exponents = np.arange(0, dimensions, 2, dtype=np.float32) / np.float32(dimensions)
    powers = np.power(np.float64(np.float32(theta)), exponents.astype(np.float64))
    return (np.float32(1.0) / powers.astype(np.float32)).astype(np.float32)
