"""Rotary embedding: pairs half the rotated dimensions apart, or neighbours; angles in float32."""

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, split_heads
from sala_compile.sala_ir.reference.batch import Batch
from sala_compile.sala_ir.reference.norms import rms_norm


def rope_table(
    batch: Batch,
    *,
    frequencies: Sequence[float],
    factor: float = 1.0,
    starts: Sequence[int] = (0,),
    log_offset: float = 0.0,
    position_offset: int = 0,
) -> np.ndarray:
    """Return [cos | sin] of every token's angles times `factor`, float32 [tokens, R].

    Positions are those of the tokens plus `position_offset`.
    frequencies [P * R/2]: a row for each of P ranges of call lengths, which begin at `starts`. An
    angle is the float32 product of position and frequency; cosine and sine are those of that
    angle, rounded to float32, and their product with the factor is rounded again. With a
    `log_offset` the factor is first multiplied by ln(position + log_offset); sum, logarithm and
    product are rounded to float32. The table depends on no value of the graph, so it is a NumPy
    array in every namespace.
    """
    rows = np.asarray(frequencies, np.float32).reshape(len(starts), -1)
    lengths = [part.call_length for part in batch for _ in range(part.count)]
    chosen = np.searchsorted(starts, np.array(lengths, np.int64), "right") - 1
    positions = (batch.positions + position_offset).astype(np.float32)
    angles = positions[:, None] * rows[chosen]
    angles = angles.astype(np.float64)
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    if not log_offset:
        return table * np.float32(factor)
    moved = positions + np.float32(log_offset)
    growth = np.log(moved.astype(np.float64)).astype(np.float32) * np.float32(factor)
    return table * growth[:, None]


def rope(
    x: Array,
    table: Array,
    norm: Array | None = None,
    *,
    head_dim: int,
    eps: float = 0.0,
    start: int = 0,
    interleaved: int = 0,
) -> Array:
    """Rotate dimension i of every head with dimension i + R/2: x [tokens, heads * D].

    `table` [tokens, R] holds cosines in its first and sines in its second half; they are for the
    dimensions of a head from `start` on, and the others stay as they are. `interleaved`: pairs are
    neighbours, their first members come first in the result. With a norm [D], every head is
    RMS-normalised first.
    """
    if norm is not None:
        x = rms_norm(x, norm, eps=eps)
    xp = array_namespace(x, table)
    half = table.shape[1] // 2
    heads = split_heads(x, x.shape[1] // head_dim)
    before, after = heads[:, :, :start], heads[:, :, start + 2 * half :]
    turned = heads[:, :, start : start + 2 * half]
    if interleaved:
        pairs = xp.reshape(turned, (*turned.shape[:2], half, 2))
        low, high = pairs[..., 0], pairs[..., 1]
    else:
        low, high = turned[:, :, :half], turned[:, :, half:]
    cos, sin = table[:, None, :half], table[:, None, half:]
    rotated = [low * cos - high * sin, high * cos + low * sin]
    parts = [part for part in (before, *rotated, after) if part.shape[2]]
    return xp.reshape(xp.concat(parts, axis=2), x.shape)
