"""State of sparse and softmax attention: keys, values and compressed keys (section 6.2).

A pool is a functional value: a mapping from the slot of a sequence to its arrays, contiguous over
the tokens, without pages. Every function returns a new mapping and leaves the given one as it is.
"""

from collections.abc import Mapping

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, split_heads, take_rows
from sala_compile.sala_ir.reference.batch import Batch, SequenceRows
from sala_compile.sala_ir.reference.rounding import Round, exact

COARSE_FACTOR = 4
"""Window and stride of a coarse key, in windows and strides of a fine one."""

KVCache = Mapping[int, tuple[Array, Array]]
"""Slot -> keys and values, each [tokens, kv heads, head_dim]."""

CompressedKeys = Mapping[int, tuple[Array, Array]]
"""Slot -> fine and coarse keys, each [complete windows, kv heads, head_dim]."""


def append_kv(
    k: Array, v: Array, kv: KVCache, batch: Batch, *, kv_heads: int, rounding: Round = exact
) -> KVCache:
    """Return the cache with each sequence's new keys and values after its history.

    k, v [tokens, kv_heads * head_dim]. What a slot held beyond the history is dropped.
    """
    keys, values = (rounding(split_heads(x, kv_heads)) for x in (k, v))
    updated = dict(kv)
    for part in batch:
        past = kv[part.slot] if part.history else (keys[:0, ...], values[:0, ...])
        updated[part.slot] = (
            _extend(past[0], keys, part),
            _extend(past[1], values, part),
        )
    return updated


def compress_keys(
    kv: KVCache,
    compressed: CompressedKeys,
    batch: Batch,
    *,
    kernel_size: int,
    kernel_stride: int,
    rounding: Round = exact,
) -> CompressedKeys:
    """Return the compressed keys with the windows that the new tokens complete.

    `kv` already holds the new keys. Both levels are plain means over complete windows.
    """
    updated = dict(compressed)
    for part in batch:
        keys = kv[part.slot][0]
        past = compressed[part.slot] if part.history else (keys[:0, ...], keys[:0, ...])
        updated[part.slot] = (
            _extend_level(past[0], keys, part, kernel_size, kernel_stride, rounding),
            _extend_level(
                past[1],
                keys,
                part,
                COARSE_FACTOR * kernel_size,
                COARSE_FACTOR * kernel_stride,
                rounding,
            ),
        )
    return updated


def complete_windows(length: int, size: int, stride: int) -> int:
    """Return how many windows of `size` tokens every `stride` end within `length` tokens."""
    return (length - size) // stride + 1 if length >= size else 0


def window_means(keys: Array, first: int, last: int, size: int, stride: int) -> Array:
    """Return the means of windows `first` to `last` of keys [tokens, heads, head_dim]."""
    xp = array_namespace(keys)
    starts = np.arange(first, last) * stride
    rows = take_rows(keys, (starts[:, None] + np.arange(size)[None, :]).reshape(-1))
    windows = xp.reshape(rows, (last - first, size, keys.shape[1], keys.shape[2]))
    return xp.mean(windows, axis=1)


def _extend(past: Array, new: Array, part: SequenceRows) -> Array:
    xp = array_namespace(past, new)
    assert past.shape[0] >= part.history, "a sequence's history is longer than its cache"
    return xp.concat([past[: part.history, ...], new[part.rows, ...]], axis=0)


def _extend_level(
    past: Array, keys: Array, part: SequenceRows, size: int, stride: int, rounding: Round
) -> Array:
    xp = array_namespace(past, keys)
    first = complete_windows(part.history, size, stride)
    last = complete_windows(part.length, size, stride)
    if first == last:
        return past[:first, ...]
    means = rounding(window_means(keys, first, last, size, stride))
    return xp.concat([past[:first, ...], means], axis=0)
