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


def heads_first(x: Array) -> Array:
    """View [rows, heads, size] as [heads, rows, size]."""
    return array_namespace(x).permute_dims(x, (1, 0, 2))


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
    """Return the device of an array, or None where its namespace knows only one."""
    return getattr(x, "device", None)


def take_rows(x: Array, indices: Any) -> Array:
    """Return the rows of `x` that `indices` names, in that order."""
    xp = array_namespace(x)
    return xp.take(x, indices_like(indices, x), axis=0)
