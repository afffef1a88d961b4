"""Indexers: scores of pools of tokens, the best of them, and the tokens that these allow."""

from collections.abc import Mapping

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import (
    Array,
    indices_like,
    iota,
    mask_like,
    split_heads,
    take_rows,
)
from sala_compile.sala_ir.reference.batch import Batch, SequenceRows
from sala_compile.sala_ir.reference.rounding import Round, exact

IndexerKeys = Mapping[int, Array]
"""Slot -> keys of the complete pools of a sequence [pools, columns]."""

NO_POOL = -1
"""What fills the entries of a selection that are not used."""
ROWS_PER_TILE = 128
"""Queries that are scored at once; bounds memory and changes no result beyond rounding."""


def select_pools(
    q: Array,
    keys: Array,
    cache: IndexerKeys,
    batch: Batch,
    weights: Array | None = None,
    *,
    heads: int,
    scale: float,
    count: int,
    pool: int,
    cache_rounding: Round = exact,
    operand_rounding: Round = exact,
) -> tuple[Array, IndexerKeys]:
    """Write the keys of new pools and choose; the operands are those of `SelectPoolsOp`.

    q [tokens, heads * D], keys [tokens, D], weights [tokens, heads] -> int32 [tokens, count] of
    pools, ascending, then -1. What is rounded: keys to the type of the cache, and queries like them
    (`operand_rounding`); scores, weights and sums stay as they are.
    """
    xp = array_namespace(q)
    rounded, written = operand_rounding(q), dict(cache)
    chosen = [xp.zeros_like(indices_like(range(count), q)[None, :][:0, :], dtype=xp.int32)]
    new = cache_rounding(keys)
    for part in batch:
        known = written[part.slot] = _with_new_pools(new, cache, part, pool)
        for start in range(part.start, part.stop, ROWS_PER_TILE):
            rows = slice(start, min(start + ROWS_PER_TILE, part.stop))
            positions = part.positions[start - part.start : rows.stop - part.start]
            scores = pool_scores(
                split_heads(rounded[rows, :], heads),
                known,
                None if weights is None else weights[rows, :],
                scale=scale,
            )
            chosen.append(choose_pools(scores, positions, count=count, pool=pool))
    return xp.concat(chosen, axis=0), written


def pool_scores(
    queries: Array, keys: Array, weights: Array | None = None, *, scale: float
) -> Array:
    """Return sum_h weights_th relu(scale q_th . K_p), [tokens, pools].

    queries [tokens, heads, D], keys [pools, D], weights [tokens, heads]; those are 1 if None.
    """
    xp = array_namespace(queries, keys)
    by_head = xp.permute_dims(queries, (1, 0, 2))
    products = scale * xp.matmul(by_head, xp.matrix_transpose(keys)[None, ...])
    positive = xp.where(products > 0, products, xp.zeros_like(products))
    if weights is not None:
        positive = positive * xp.matrix_transpose(weights)[:, :, None]
    return xp.sum(positive, axis=0)


def choose_pools(scores: Array, positions: np.ndarray, *, count: int, pool: int) -> Array:
    """Return the `count` best complete pools of each token, ascending, then -1: int32.

    scores [tokens, pools], of which a token at position t has (t + 1) // pool. Of equal ones the
    first are taken.
    """
    xp = array_namespace(scores)
    pools = scores.shape[1]
    complete = (positions + 1) // pool
    is_candidate = mask_like(np.less(np.arange(int(pools))[None, :], complete[:, None]), scores)
    order = xp.argsort(xp.where(is_candidate, scores, -xp.inf), axis=-1, descending=True)
    rank = xp.argsort(order, axis=-1)
    kept = is_candidate & (rank < count)
    listed = xp.sort(xp.where(kept, iota(pools, scores), pools), axis=-1)[:, :count]
    listed = xp.astype(xp.where(listed < pools, listed, NO_POOL), xp.int32)
    missing = count - listed.shape[1]
    if not missing:
        return listed
    filler = xp.zeros_like(indices_like(range(missing), scores)[None, :], dtype=xp.int32) + NO_POOL
    return xp.concat([listed, xp.broadcast_to(filler, (scores.shape[0], missing))], axis=1)


def selected_tokens(selection: Array, positions: np.ndarray, tokens: int, *, pool: int) -> Array:
    """Return which of the first `tokens` tokens each query reads, [queries, tokens].

    Those of the pools in its row of `selection` [queries, count], ascending and then -1, and those
    after the last complete pool, up to its own.
    """
    xp = array_namespace(selection)
    pools, queries = -(-tokens // pool), selection.shape[0]
    # Row by row in one ascending list, so that one search finds the pools of all rows.
    base = indices_like(np.arange(queries) * (pools + 1), selection)[:, None]
    listed = xp.astype(selection, base.dtype)
    listed = xp.where((listed >= 0) & (listed < pools), listed, pools) + base
    wanted = xp.reshape(indices_like(range(pools), selection)[None, :] + base, (-1,))
    flat = xp.reshape(listed, (-1,))
    ends = [xp.searchsorted(flat, wanted, side=side) for side in ("right", "left")]
    is_chosen = xp.reshape(ends[0] > ends[1], (queries, pools))
    token = np.arange(tokens)
    by_token = xp.take(is_chosen, indices_like(token // pool, selection), axis=1)
    complete = ((positions + 1) // pool * pool)[:, None]
    in_tail = (token[None, :] >= complete) & (token[None, :] <= positions[:, None])
    return by_token | mask_like(in_tail, selection)


def _with_new_pools(keys: Array, cache: IndexerKeys, part: SequenceRows, pool: int) -> Array:
    """The keys of all complete pools of a sequence, after its new tokens."""
    before = part.history // pool
    past = cache[part.slot][:before, :] if before else keys[:0, :]
    ends = [
        part.start + t - part.history for t in range((before + 1) * pool - 1, part.length, pool)
    ]
    return array_namespace(keys).concat([past, take_rows(keys, ends)], axis=0)
