"""Activations as integers of 8 bits with a scale for each block of a row."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array

LEVELS = 127.0
"""The largest integer, which represents the largest magnitude of a block."""
LEAST = 2.0**-100
"""Magnitudes below it count as it, so that no factor is infinite."""


def round_activations(x: Array, *, group: int) -> Array:
    """The values that rounding rows of x [rows, K] to integers q of 8 bits leaves.

    Each `group` values of a row share a scale: q = round(x * f), |q| <= 127, with f = 127 / largest
    magnitude, and the value is q * s, s = largest magnitude * (1 / 127). f, x * f and s are
    float32, for any dtype of x; ties go to even. A block with an infinity or NaN is NaN.
    """
    xp = array_namespace(x)
    rows, columns = x.shape
    groups = -(-columns // group)
    padding = xp.zeros((rows, groups * group - columns), dtype=x.dtype)
    single = xp.astype(xp.concat([x, padding], axis=1), xp.float32)
    blocks = xp.reshape(single, (rows, groups, group))
    largest = xp.max(xp.abs(blocks), axis=-1, keepdims=True)
    bounded = xp.clip(largest, LEAST, None)
    levels = xp.asarray(LEVELS, dtype=xp.float32)
    integers = xp.round(blocks * (levels / bounded))
    scale = bounded * xp.asarray(1.0 / LEVELS, dtype=xp.float32)
    scale = xp.where(xp.isfinite(largest), scale, xp.full_like(scale, float("nan")))
    values = xp.astype(integers, x.dtype) * xp.astype(scale, x.dtype)
    return xp.reshape(values, (rows, groups * group))[:, :columns]
