"""What every reference function shares: the array type and the shapes of heads."""

from typing import Any

import numpy as np
from array_api_compat import array_namespace

Array = Any
"""An array of any namespace that follows the Python array API standard."""


def split_heads(x: Array, heads: int) -> Array:
    """View [rows, heads * size] as [rows, heads, size]."""
    return array_namespace(x).reshape(x, (x.shape[0], heads, x.shape[1] // heads))


def merge_heads(x: Array) -> Array:
    """View [rows, heads, size] as [rows, heads * size]."""
    return array_namespace(x).reshape(x, (x.shape[0], x.shape[1] * x.shape[2]))


def repeat_heads(x: Array, times: int) -> Array:
    """Repeat every head of [rows, heads, size] `times` times, copies side by side."""
    xp = array_namespace(x)
    copies = xp.broadcast_to(xp.expand_dims(x, axis=2), (x.shape[0], x.shape[1], times, x.shape[2]))
    return xp.reshape(copies, (x.shape[0], x.shape[1] * times, x.shape[2]))


def swap_heads(x: Array) -> Array:
    """View [..., rows, heads, size] as [..., heads, rows, size], and the other way round."""
    last = x.ndim - 1
    return array_namespace(x).permute_dims(x, (*range(last - 2), last - 1, last - 2, last))


def fold_sequences(x: Array, count: int) -> Array:
    """View the rows of `count` equally long sequences as rows of one, its heads side by side.

    [count * rows, heads, size] -> [rows, count * heads, size].
    """
    xp = array_namespace(x)
    rows, heads, size = x.shape[0] // count, x.shape[1], x.shape[2]
    parts = xp.permute_dims(xp.reshape(x, (count, rows, heads, size)), (1, 0, 2, 3))
    return xp.reshape(parts, (rows, count * heads, size))


def unfold_sequences(x: Array, count: int) -> Array:
    """Undo `fold_sequences`: [rows, count * heads, size] -> [count * rows, heads, size]."""
    xp = array_namespace(x)
    rows, heads, size = x.shape[0], x.shape[1] // count, x.shape[2]
    parts = xp.permute_dims(xp.reshape(x, (rows, count, heads, size)), (1, 0, 2, 3))
    return xp.reshape(parts, (count * rows, heads, size))


def iota(count: int, like: Array, *, start: int = 0) -> Array:
    """Return the int32 values start, start + 1, ... in the namespace and device of `like`."""
    xp = array_namespace(like)
    return xp.arange(start, start + count, dtype=xp.int32, device=device_of(like))


def to_like(values: Any, like: Array) -> Array:
    """Bring plain numbers or a NumPy array to the namespace, element type and device of `like`."""
    xp = array_namespace(like)
    return xp.astype(xp.asarray(values, device=device_of(like)), like.dtype)


def mask_like(values: np.ndarray, like: Array) -> Array:
    """Bring a NumPy mask to the namespace and device of `like`."""
    return array_namespace(like).asarray(values, device=device_of(like))


def indices_like(values: Any, like: Array) -> Array:
    """Bring integers to an int64 index array in the namespace and device of `like`."""
    xp = array_namespace(like)
    return xp.astype(xp.asarray(values, device=device_of(like)), xp.int64)


def device_of(x: Array) -> Any:
    """Return the device of an array, or None if its namespace knows only one."""
    return getattr(x, "device", None)


def take_rows(x: Array, indices: Any) -> Array:
    """Return the rows of `x` that `indices` names, in that order."""
    xp = array_namespace(x)
    return xp.take(x, indices_like(indices, x), axis=0)
