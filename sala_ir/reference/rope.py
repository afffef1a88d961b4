"""Rotary embedding (section 5): half-split pairs, angles in float32."""

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, split_heads
from sala_compile.sala_ir.reference.batch import Batch


def inverse_frequencies(theta: float, head_dim: int) -> np.ndarray:
    """Return theta^(-2i/D), i < D/2, float32: each of the three steps is rounded to float32."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers = np.power(np.float64(np.float32(theta)), exponents.astype(np.float64))
    return (np.float32(1.0) / powers.astype(np.float32)).astype(np.float32)


def rope_angles(positions: Sequence[int] | np.ndarray, theta: float, head_dim: int) -> np.ndarray:
    """Return position * inverse frequency, a float32 product [tokens, head_dim / 2]."""
    frequencies = inverse_frequencies(theta, head_dim)
    return np.asarray(positions, np.float32)[:, None] * frequencies[None, :]


def rope_table(batch: Batch, *, theta: float, head_dim: int) -> np.ndarray:
    """Return [cos | sin] of every token's angles, float32 [tokens, head_dim].

    The table depends on no value of the graph, so it is a NumPy array in every namespace; cosine
    and sine are those of the float32 angle, rounded to float32.
    """
    angles = rope_angles(batch.positions, theta, head_dim).astype(np.float64)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def rope(x: Array, table: Array, *, head_dim: int) -> Array:
    """Rotate dimension i of every head with dimension i + D/2: x [tokens, heads * D].

    `table` [tokens, D] holds cosines in its first and sines in its second half.
    """
    xp = array_namespace(x, table)
    half = head_dim // 2
    heads = split_heads(x, x.shape[1] // head_dim)
    low, high = heads[:, :, :half], heads[:, :, half:]
    cos, sin = table[:, None, :half], table[:, None, half:]
    rotated = xp.concat([low * cos - high * sin, high * cos + low * sin], axis=2)
    return xp.reshape(rotated, x.shape)
