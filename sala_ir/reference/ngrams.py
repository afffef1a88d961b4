"""Embeddings of n-grams of token ids by hashing, and how streams take them."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, take_rows
from sala_compile.sala_ir.reference.batch import Batch

TokenWindow = Mapping[int, np.ndarray]
"""Slot -> ids of the last tokens, the oldest first: int32 [order - 1], 0 for those that are not."""


def ngram_rows(
    tokens: Any,
    window: TokenWindow,
    batch: Batch,
    *,
    multipliers: Sequence[int],
    sizes: Sequence[int],
    end: int,
) -> tuple[np.ndarray, TokenWindow]:
    """Return the rows of a table for the n-grams of every token, int64 [tokens, heads].

    tokens int32 [tokens]; the n-grams, and what the window keeps, are those of `NgramEmbeddingOp`.
    Whole numbers alone, so that they are NumPy arrays in every namespace.
    """
    ids, updated = np.asarray(tokens).astype(np.int64), dict(window)
    factors, moduli = np.array(multipliers, np.int64), np.array(sizes, np.int64)
    offsets = np.array([*accumulate(sizes[:-1], initial=0)], np.int64)
    kept, heads = len(multipliers) - 1, len(sizes) // (len(multipliers) - 1)
    found = np.zeros((len(ids), len(sizes)), np.int64)
    for part in batch:
        past = np.full(kept, end, np.int64)
        have = min(kept, part.history)
        if have:
            past[kept - have :] = np.asarray(window[part.slot])[kept - have :]
        known = np.concatenate([past, ids[part.rows]])
        mixed = known[kept:] * factors[0]
        is_inside = np.ones(part.count, bool)
        for back in range(1, kept + 1):
            earlier = known[kept - back : len(known) - back]
            is_inside &= earlier != end
            mixed = mixed ^ (np.where(is_inside, earlier, end) * factors[back])
            own = slice((back - 1) * heads, back * heads)
            found[part.rows, own] = np.remainder(mixed[:, None], moduli[own]) + offsets[own]
        left = known[len(known) - kept :].astype(np.int32)
        left[: max(0, kept - part.length)] = 0
        updated[part.slot] = left
    return found, updated


def ngram_embedding(rows: Any, table: Array) -> Array:
    """Return the rows of a table side by side: rows [tokens, heads], table [R, C].

    The result is [tokens, heads * C].
    """
    xp, shape = array_namespace(table), np.shape(rows)
    found = take_rows(table, np.reshape(rows, (-1,)))
    return xp.reshape(found, (shape[0], shape[1] * table.shape[1]))


def score_streams(
    key: Array, query: Array, *, streams: int, scale: float, least: float = 0.0
) -> Array:
    """Return the signed roots of scale * key_n . query_n of every stream: [tokens, streams].

    key and query [tokens, streams * size]. A product p becomes sign(p) sqrt(max(|p|, least)).
    """
    xp = array_namespace(key, query)
    shape = (key.shape[0], streams, key.shape[1] // streams)
    products = scale * xp.sum(xp.reshape(key, shape) * xp.reshape(query, shape), axis=-1)
    size = xp.clip(xp.abs(products), least, None)
    return xp.sign(products) * xp.sqrt(size)
