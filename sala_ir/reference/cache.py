"""State of sparse and softmax attention: keys, values and compressed keys (section 6.2).

A pool is a functional value: a mapping from the slot of a sequence to its arrays, contiguous over
the tokens, without pages. Every function returns a new mapping and leaves the given one as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, split_heads, take_rows
from sala_compile.sala_ir.reference.batch import Batch, SequenceRows
from sala_compile.sala_ir.reference.rounded_pages import RoundedKV, RoundedPages
from sala_compile.sala_ir.reference.rounding import Round, exact

COARSE_FACTOR = 4
"""Window and stride of a coarse key, in windows and strides of a fine one."""

KVCache = Mapping[int, tuple[Array, Array]]
"""Slot -> keys and values, each [tokens, kv heads, head_dim]."""

CompressedKeys = Mapping[int, tuple[Array, Array]]
"""Slot -> fine and coarse keys, each [complete windows, kv heads, head_dim]."""

RecentKeys = Mapping[int, Array]
"""Slot -> keys of the last R tokens [kv heads, R, head_dim]: that of token t is in place t % R."""


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
    windows = _Windows(kernel_size, kernel_stride, rounding)
    keys = {part.slot: kv[part.slot][0] for part in batch}
    return dict(compressed) | {
        part.slot: windows.extended(compressed, keys[part.slot], 0, part) for part in batch
    }


def compress_unrounded_keys(
    k: Array,
    kv: RoundedKV,
    compressed: CompressedKeys,
    batch: Batch,
    *,
    pages: RoundedPages,
    kernel_size: int,
    kernel_stride: int,
    rounding: Round = exact,
) -> CompressedKeys:
    """Return the compressed keys like `compress_keys`, of a cache whose full pages are rounded.

    The means are of keys before that: new ones, and the recent ones of `kv` from before the step.
    """
    windows, count = _Windows(kernel_size, kernel_stride, rounding), pages.rounding.recent
    updated = dict(compressed)
    for part in batch:
        keys, _ = pages.unrounded(k, k, kv, part)
        updated[part.slot] = windows.extended(compressed, keys, part.history - count, part)
    return updated


def compress_new_keys(
    k: Array,
    recent: RecentKeys,
    compressed: CompressedKeys,
    batch: Batch,
    *,
    kv_heads: int,
    kernel_size: int,
    kernel_stride: int,
    recent_rounding: Round = exact,
    rounding: Round = exact,
) -> tuple[RecentKeys, CompressedKeys]:
    """Return recent and compressed keys after the new ones, of keys that no cache holds.

    k [tokens, kv_heads * head_dim]. The means are those of `compress_keys`, of keys rounded as
    `recent` holds them; it holds as many as a coarse window has.
    """
    xp = array_namespace(k)
    windows = _Windows(kernel_size, kernel_stride, rounding)
    keys, count = recent_rounding(split_heads(k, kv_heads)), COARSE_FACTOR * kernel_size
    new_recent, new_compressed = dict(recent), dict(compressed)
    for part in batch:
        new = keys[part.rows, ...]
        if part.history:
            past = _last_keys(recent[part.slot], part.history)
        else:
            nothing = xp.sum(new[:0, ...], axis=0, keepdims=True)
            past = xp.broadcast_to(nothing, (count, *nothing.shape[1:]))
        known = xp.concat([past, new], axis=0)
        start = part.history - count  # the token of the first of the known keys
        new_compressed[part.slot] = windows.extended(compressed, known, start, part)
        places = (np.arange(count) - part.length) % count + part.length - count
        new_recent[part.slot] = xp.permute_dims(take_rows(known, places - start), (1, 0, 2))
    return new_recent, new_compressed


def _last_keys(recent: Array, history: int) -> Array:
    """The recent keys in the order of their tokens: [R, kv heads, head_dim]."""
    xp = array_namespace(recent)
    count = recent.shape[1]
    return take_rows(
        xp.permute_dims(recent, (1, 0, 2)), np.arange(history, history + count) % count
    )


def complete_windows(length: int, size: int, stride: int) -> int:
    """Return how many windows of `size` tokens every `stride` end within `length` tokens."""
    return (length - size) // stride + 1 if length >= size else 0


def window_means(
    keys: Array, first: int, last: int, size: int, stride: int, start: int = 0
) -> Array:
    """Return the means of windows `first` to `last` of keys [tokens, heads, head_dim].

    The first key is that of token `start`.
    """
    xp = array_namespace(keys)
    starts = np.arange(first, last) * stride - start
    rows = take_rows(keys, (starts[:, None] + np.arange(size)[None, :]).reshape(-1))
    windows = xp.reshape(rows, (last - first, size, keys.shape[1], keys.shape[2]))
    return xp.mean(windows, axis=1)


def _extend(past: Array, new: Array, part: SequenceRows) -> Array:
    xp = array_namespace(past, new)
    assert past.shape[0] >= part.history, "a sequence's history is longer than its cache"
    return xp.concat([past[: part.history, ...], new[part.rows, ...]], axis=0)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows of both levels, and what their means are rounded to."""

    size: int
    stride: int
    rounding: Round

    def extended(
        self, compressed: CompressedKeys, keys: Array, start: int, part: SequenceRows
    ) -> tuple[Array, Array]:
        """Both levels of a sequence after its new tokens; `keys` are those from `start` on."""
        past = compressed[part.slot] if part.history else (keys[:0, ...], keys[:0, ...])
        fine = self._level(past[0], keys, start, part, 1)
        return fine, self._level(past[1], keys, start, part, COARSE_FACTOR)

    def _level(
        self, past: Array, keys: Array, start: int, part: SequenceRows, factor: int
    ) -> Array:
        xp = array_namespace(past, keys)
        size, stride = factor * self.size, factor * self.stride
        first = complete_windows(part.history, size, stride)
        last = complete_windows(part.length, size, stride)
        if first == last:
            return past[:first, ...]
        means = window_means(keys, first, last, size, stride, start)
        return xp.concat([past[:first, ...], self.rounding(means)], axis=0)
