"""Keys and values whose full pages are integers: how they are rounded, and what queries read.

A page is rounded from the unrounded keys and values of its tokens, once its last token is there.
Every step is one operation of float32, rounded to nearest, so that any target finds the same bits:
scales are a little larger than needed, so that no integer leaves its range, and zero never divides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import LEAST_SCALE, PageRounding, scale_factor
from sala_compile.sala_ir.reference.arrays import Array, split_heads, take_rows
from sala_compile.sala_ir.reference.batch import Batch, SequenceRows
from sala_compile.sala_ir.reference.rounding import Round, exact, to_float32

WORD_BITS = 32
PAGE_PARTS = 6
"""Parts of a cache that pages have."""


class RoundedCache(NamedTuple):
    """What a sequence keeps: pages of integers, and its last tokens unrounded.

    k int32 [pages, kv heads, words, tokens]: a word has the next columns of a token, v [pages, kv
    heads, words, columns]: the next tokens of a column, lowest bits first. k_scale and k_minimum
    [pages, kv heads, columns], v_scale and v_minimum [pages, kv heads, tokens]. recent_k and
    recent_v [kv heads, R, columns]: token t is in place t % R.
    """

    k: Array
    k_scale: Array
    k_minimum: Array
    v: Array
    v_scale: Array
    v_minimum: Array
    recent_k: Array
    recent_v: Array


RoundedKV = Mapping[int, RoundedCache]
"""Slot -> what is kept of a sequence."""


def scales(x: Array, axis: int, bits: int, rounding: Round = exact) -> tuple[Array, Array]:
    """Scale and minimum of numbers that are rounded together, along an axis that stays, of 1."""
    xp = array_namespace(x)
    least = rounding(to_float32(xp.min(x, axis=axis, keepdims=True)))
    extent = to_float32(xp.max(x, axis=axis, keepdims=True) - least)
    wanted = to_float32(extent * scale_factor((1 << bits) - 1))
    return rounding(xp.maximum(wanted, xp.zeros_like(wanted) + LEAST_SCALE)), least


def integers(x: Array, scale: Array, minimum: Array) -> Array:
    """The integers of numbers, as numbers."""
    return array_namespace(x).round(to_float32(to_float32(x - minimum) / scale))


def pack_words(integers: Array, bits: int, axis: int) -> Array:
    """Join neighbours along an axis to words of 32 bits, int32."""
    xp = array_namespace(integers)
    count, shape = WORD_BITS // bits, list(integers.shape)
    shape[axis : axis + 1] = [shape[axis] // count, count]
    split = xp.reshape(xp.astype(integers, xp.int64), tuple(shape))
    parts = [xp.take(split, _place(index, split), axis=axis + 1) for index in range(count)]
    words = sum(part << (bits * index) for index, part in enumerate(parts))
    signed = xp.where(words >= 1 << 31, words - (1 << 32), words)
    return xp.astype(xp.squeeze(signed, axis=axis + 1), xp.int32)


def unpack_words(words: Array, bits: int, axis: int) -> Array:
    """The integers of words, int64."""
    xp = array_namespace(words)
    count, wide = WORD_BITS // bits, xp.astype(words, xp.int64)
    parts = [(wide >> (bits * index)) & ((1 << bits) - 1) for index in range(count)]
    split = xp.stack(parts, axis=axis + 1)
    shape = list(words.shape)
    shape[axis] *= count
    return xp.reshape(split, tuple(shape))


def _place(index: int, like: Array) -> Array:
    xp = array_namespace(like)
    return xp.asarray([index], device=getattr(like, "device", None))


@dataclass(frozen=True, slots=True)
class RoundedPages:
    """How a cache stores its full pages; `element` rounds to its element type.

    Keys and values of new tokens are [tokens, kv heads * columns] in all methods.
    """

    kv_heads: int
    page_tokens: int
    rounding: PageRounding
    element: Round = exact

    def round_pages(self, k: Array, v: Array, kv: RoundedKV, batch: Batch) -> RoundedKV:
        """Return the cache with the pages that the new tokens complete."""
        updated, page = dict(kv), self.page_tokens
        for part in batch:
            before, (keys, values) = self._before(k, v, kv, part), self.unrounded(k, v, kv, part)
            first, last = part.history // page, part.length // page
            start = part.history - self.rounding.recent
            rows = np.arange(first * page, last * page) - start
            rounded = self._rounded(*(self._pages(take_rows(x, rows)) for x in (keys, values)))
            pairs = zip(before[:PAGE_PARTS], rounded, strict=True)
            joined = [array_namespace(new).concat([old[:first, ...], new]) for old, new in pairs]
            updated[part.slot] = RoundedCache._make([*joined, *before[PAGE_PARTS:]])
        return updated

    def keep_recent(self, k: Array, v: Array, kv: RoundedKV, batch: Batch) -> RoundedKV:
        """Return the cache of `round_pages` with the newest tokens, in place of older ones."""
        updated, count = dict(kv), self.rounding.recent
        places = np.arange(count)
        for part in batch:
            known = self.unrounded(k, v, kv, part)
            tokens = (places - part.length) % count + part.length - count
            recent = [take_rows(x, tokens - (part.history - count)) for x in known]
            pages = kv[part.slot][:PAGE_PARTS]
            updated[part.slot] = RoundedCache._make([*pages, *map(_by_heads, recent)])
        return updated

    def unrounded(
        self, k: Array, v: Array, kv: RoundedKV, part: SequenceRows
    ) -> tuple[Array, Array]:
        """The keys and values [tokens, kv heads, columns] from the first recent token on.

        That is token `history` - R, which was never there of a short sequence.
        """
        before, count = self._before(k, v, kv, part), self.rounding.recent
        order = np.arange(part.history, part.history + count) % count
        found: list[Array] = []
        for new, recent in ((k, before.recent_k), (v, before.recent_v)):
            own = self.element(split_heads(new, self.kv_heads))[part.rows, ...]
            past = take_rows(_by_heads(recent), order)
            found.append(array_namespace(own).concat([past, own], axis=0))
        return found[0], found[1]

    def rounded(self, cache: RoundedCache) -> tuple[Array, Array]:
        """The keys and values of all full pages [tokens, kv heads, columns] as they are read."""
        xp = array_namespace(cache.k_scale)
        dtype = cache.k_scale.dtype
        bits = self.rounding.key_bits, self.rounding.value_bits
        keys = xp.astype(unpack_words(cache.k, bits[0], 2), dtype)
        keys = keys * cache.k_scale[..., None] + cache.k_minimum[..., None]
        values = xp.astype(unpack_words(cache.v, bits[1], 2), dtype)
        values = values * cache.v_scale[..., None] + cache.v_minimum[..., None]
        return (
            self._tokens(xp.permute_dims(keys, (0, 3, 1, 2))),
            self._tokens(xp.permute_dims(values, (0, 2, 1, 3))),
        )

    def readable(self, past: Array, own: Array, part: SequenceRows, page: int, end: int) -> Array:
        """What queries of a page read before token `end`: `past` pages rounded, their `own` not."""
        begin, start = page * self.page_tokens, part.history - self.rounding.recent
        inside = own[begin - start : end - start, ...]
        return array_namespace(own).concat([past[:begin, ...], inside], axis=0)

    def _before(self, k: Array, v: Array, kv: RoundedKV, part: SequenceRows) -> RoundedCache:
        """The cache of a sequence before the step: of a new one no pages, and zeros."""
        if part.history:
            return RoundedCache(*kv[part.slot])
        keys, values = (
            self._pages(split_heads(x, self.kv_heads)[:0, ...]) for x in (k, v)
        )  # no page of the right shape
        xp = array_namespace(keys)
        shape = (self.kv_heads, self.rounding.recent, keys.shape[3])
        nothing = xp.zeros(shape, dtype=keys.dtype, device=getattr(keys, "device", None))
        return RoundedCache._make([*self._rounded(keys, values), nothing, nothing])

    def _rounded(self, keys: Array, values: Array) -> tuple[Array, ...]:
        """The integers and scales of whole pages [pages, tokens, kv heads, columns]."""
        xp = array_namespace(keys)
        bits = self.rounding.key_bits, self.rounding.value_bits
        if not keys.shape[0]:
            return self._no_pages(keys)
        by_column = xp.permute_dims(keys, (0, 2, 3, 1))  # [pages, kv heads, columns, tokens]
        by_token = xp.permute_dims(values, (0, 2, 1, 3))  # [pages, kv heads, tokens, columns]
        found: list[Array] = []
        for x, count in ((by_column, bits[0]), (by_token, bits[1])):
            scale, minimum = scales(x, 3, count, self.element)
            words = pack_words(integers(x, scale, minimum), count, 2)
            found += [words, xp.squeeze(scale, axis=3), xp.squeeze(minimum, axis=3)]
        return tuple(found)

    def _no_pages(self, keys: Array) -> tuple[Array, ...]:
        xp = array_namespace(keys)
        heads, columns, tokens = self.kv_heads, keys.shape[3], self.page_tokens
        device = getattr(keys, "device", None)
        words = [
            xp.zeros((0, heads, rows * bits // WORD_BITS, across), dtype=xp.int32, device=device)
            for rows, bits, across in (
                (columns, self.rounding.key_bits, tokens),
                (tokens, self.rounding.value_bits, columns),
            )
        ]
        of_columns, of_tokens = (
            xp.zeros((0, heads, extent), dtype=keys.dtype, device=device)
            for extent in (columns, tokens)
        )
        return words[0], of_columns, of_columns, words[1], of_tokens, of_tokens

    def _pages(self, x: Array) -> Array:
        """View [tokens, kv heads, columns] of whole pages as [pages, tokens, kv heads, columns]."""
        shape = (x.shape[0] // self.page_tokens, self.page_tokens, *x.shape[1:])
        return array_namespace(x).reshape(x, shape)

    def _tokens(self, x: Array) -> Array:
        """View [pages, tokens, ...] as [pages * tokens, ...]."""
        shape = (x.shape[0] * x.shape[1], *x.shape[2:])
        return array_namespace(x).reshape(x, shape)


def _by_heads(x: Array) -> Array:
    """View [tokens, kv heads, columns] as [kv heads, tokens, columns], and the other way round."""
    return array_namespace(x).permute_dims(x, (1, 0, 2))
