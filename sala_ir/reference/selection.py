"""Selection of key blocks (sections 6.3 to 6.6)."""

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.reference.arrays import (
    Array,
    fold_sequences,
    iota,
    mask_like,
    split_heads,
    unfold_sequences,
)
from sala_compile.sala_ir.reference.batch import Batch, SequenceGroup
from sala_compile.sala_ir.reference.cache import COARSE_FACTOR, CompressedKeys
from sala_compile.sala_ir.reference.rounding import Round, exact

DENSE = -1
"""The block count of a query in the dense regime; also what fills unused block entries."""

ROWS_PER_TILE = 128
"""Queries that are scored at once; bounds memory and changes no result beyond rounding."""


def select_blocks(
    q: Array,
    compressed: CompressedKeys,
    batch: Batch,
    *,
    heads: Heads,
    selection: BlockSelection,
    operand_rounding: Round = exact,
) -> tuple[Array, Array]:
    """Return the blocks that every query and kv head reads, ascending, and how many they are.

    q [tokens, num_heads * head_dim] -> int32 blocks [tokens, kv_heads, budget], counts
    [tokens, kv_heads]. Unused entries are -1. A sequence whose call stays below `dense_len` is
    dense: its counts are -1. `operand_rounding` is what q is rounded to before the scores.
    """
    xp = array_namespace(q)
    queries = operand_rounding(split_heads(q, heads.num_heads))
    parts = [
        _select_group(queries[group.rows, ...], compressed, group, heads, selection)
        for group in batch.groups
    ]
    empty = _dense_rows(queries[:0, ...], heads.kv_heads, selection.budget)
    blocks, counts = zip(empty, *parts, strict=True)
    return xp.concat(blocks, axis=0), xp.concat(counts, axis=0)


def block_scores(
    queries: Array,
    fine: Array,
    coarse: Array,
    positions: np.ndarray,
    *,
    scale: float,
    selection: BlockSelection,
) -> Array:
    """Return B[g, b] of section 6.5 for blocks 0 to the last query's: [queries, kv heads, blocks].

    queries [queries, heads, head_dim]; fine and coarse [windows, kv heads, head_dim]. Forcing is
    not applied. Windows that a query does not see, and windows that do not exist, score 0.
    """
    scores = fine_scores(queries, fine, coarse, positions, scale=scale, selection=selection)
    blocks = int(positions[-1]) // selection.block_size + 1
    return pool_scores(scores, blocks, selection.block_size // selection.kernel_stride)


def fine_scores(
    queries: Array,
    fine: Array,
    coarse: Array,
    positions: np.ndarray,
    *,
    scale: float,
    selection: BlockSelection,
) -> Array:
    """Return P[g, j] of section 6.4, [queries, kv heads, fine windows].

    The numerator uses the fine keys, the normaliser the coarse ones.
    """
    xp = array_namespace(queries)
    size, stride = selection.kernel_size, selection.kernel_stride
    sees_fine = _visible(positions, fine.shape[0], size, stride)
    sees_coarse = _visible(positions, coarse.shape[0], COARSE_FACTOR * size, COARSE_FACTOR * stride)
    if not sees_coarse.any():
        return xp.zeros_like(_group_logits(queries, fine, scale)[:, 0, :, :])
    seen = mask_like(sees_fine & sees_coarse[:, :1], queries)[:, None, None, :]
    normaliser = _masked_logsumexp(_group_logits(queries, coarse, scale), sees_coarse)
    exponents = xp.where(seen, _group_logits(queries, fine, scale) - normaliser, -xp.inf)
    return xp.sum(xp.exp(exponents), axis=1)


def pool_scores(scores: Array, blocks: int, ratio: int) -> Array:
    """Return the largest score of windows b * ratio - 1 to b * ratio + ratio - 1, per block b.

    scores [queries, kv heads, windows] -> [queries, kv heads, blocks]; a window that does not
    exist counts as 0, which is the score of a window that is not seen.
    """
    xp = array_namespace(scores)
    rows, heads, windows = scores.shape
    columns = blocks * ratio + 1
    zeros = xp.zeros_like(xp.sum(scores, axis=-1, keepdims=True))
    missing = max(columns - windows - 1, 0)
    padded = xp.concat([zeros, scores, *[zeros] * missing], axis=2)[:, :, :columns]
    own = xp.reshape(padded[:, :, : blocks * ratio], (rows, heads, blocks, ratio))
    following = padded[:, :, ratio::ratio]
    return xp.maximum(xp.max(own, axis=-1), following)


def choose_blocks(
    scores: Array, positions: np.ndarray, *, selection: BlockSelection
) -> tuple[Array, Array]:
    """Keep the forced blocks and the best others, lower index first among equals (section 6.6).

    scores [queries, kv heads, blocks] -> int32 blocks [queries, kv heads, budget] and counts.
    """
    xp = array_namespace(scores)
    count = scores.shape[2]
    candidate, forced = (
        mask_like(mask, scores)[:, None, :] for mask in _candidates(positions, count, selection)
    )
    ranked = xp.where(forced, xp.inf, xp.where(candidate, scores, -xp.inf))
    order = xp.argsort(ranked, axis=-1, descending=True, stable=True)
    rank = xp.argsort(order, axis=-1, stable=True)
    kept = candidate & (rank < selection.budget)
    index = xp.where(kept, iota(count, scores), count)
    blocks = xp.sort(index, axis=-1)[:, :, : selection.budget]
    blocks = xp.where(blocks < count, blocks, DENSE)
    blocks = _pad_columns(xp.astype(blocks, xp.int32), selection.budget)
    return blocks, xp.sum(xp.astype(kept, xp.int32), axis=-1, dtype=xp.int32)


def _select_group(
    queries: Array,
    compressed: CompressedKeys,
    group: SequenceGroup,
    heads: Heads,
    selection: BlockSelection,
) -> tuple[Array, Array]:
    xp = array_namespace(queries)
    count, part = len(group.parts), group.first
    if part.call_length < selection.dense_len or part.count == 0:
        return _dense_rows(queries, heads.kv_heads, selection.budget)
    fine, coarse = (
        xp.concat([compressed[slot][level] for slot in group.slots], axis=1) for level in (0, 1)
    )
    folded = fold_sequences(queries, count)
    tiles: list[tuple[Array, Array]] = []
    for start in range(0, part.count, ROWS_PER_TILE):
        rows = slice(start, start + ROWS_PER_TILE)
        positions = part.positions[rows]
        scores = block_scores(
            folded[rows, ...], fine, coarse, positions, scale=heads.scale, selection=selection
        )
        tiles.append(choose_blocks(scores, positions, selection=selection))
    blocks, counts = (xp.concat(parts, axis=0) for parts in zip(*tiles, strict=True))
    return unfold_sequences(blocks, count), unfold_sequences(counts[:, :, None], count)[:, :, 0]


def _dense_rows(queries: Array, kv_heads: int, budget: int) -> tuple[Array, Array]:
    xp = array_namespace(queries)
    rows = xp.zeros_like(queries[:, :1, 0], dtype=xp.int32) + DENSE
    counts = xp.broadcast_to(rows, (queries.shape[0], kv_heads))
    return xp.broadcast_to(rows[:, :, None], (queries.shape[0], kv_heads, budget)), counts


def _visible(positions: np.ndarray, windows: int, size: int, stride: int) -> np.ndarray:
    last = np.arange(windows) * stride + size - 1
    return last[None, :] <= positions[:, None]


def _group_logits(queries: Array, keys: Array, scale: float) -> Array:
    """Return scale * q . k as [queries, heads of a group, kv heads, keys]."""
    xp = array_namespace(queries, keys)
    kv_heads = keys.shape[1]
    grouped = xp.reshape(queries, (queries.shape[0], kv_heads, -1, queries.shape[2]))
    products = xp.matmul(
        xp.permute_dims(grouped, (2, 1, 0, 3)), xp.permute_dims(keys, (1, 2, 0))[None, ...]
    )
    return xp.permute_dims(products, (2, 0, 1, 3)) * scale


def _masked_logsumexp(logits: Array, visible: np.ndarray) -> Array:
    """Return log sum exp over the visible keys, 0 if none is visible; keeps the last axis."""
    xp = array_namespace(logits)
    seen = mask_like(visible, logits)[:, None, None, :]
    masked = xp.where(seen, logits, -xp.inf)
    top = xp.max(masked, axis=-1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0.0)
    total = xp.sum(xp.exp(masked - top), axis=-1, keepdims=True)
    return top + xp.log(xp.where(total > 0, total, 1.0))


def _candidates(
    positions: np.ndarray, blocks: int, selection: BlockSelection
) -> tuple[np.ndarray, np.ndarray]:
    block = np.arange(blocks)[None, :]
    own = (positions // selection.block_size)[:, None]
    candidate = block <= own
    local = block >= own - selection.window_blocks
    return candidate, candidate & (local | (block < selection.init_blocks))


def _pad_columns(blocks: Array, columns: int) -> Array:
    xp = array_namespace(blocks)
    missing = columns - blocks.shape[2]
    if missing <= 0:
        return blocks
    filler = xp.full_like(blocks[:, :, :1], DENSE)
    return xp.concat([blocks, *[filler] * missing], axis=2)
