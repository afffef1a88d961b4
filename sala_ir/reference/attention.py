"""Softmax attention, dense and over selected blocks (sections 6.1, 6.7 and 6.8)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.reference.arrays import (
    Array,
    fold_sequences,
    indices_like,
    merge_heads,
    split_heads,
    unfold_sequences,
)
from sala_compile.sala_ir.reference.batch import Batch, SequenceGroup
from sala_compile.sala_ir.reference.cache import (
    CompressedKeys,
    KVCache,
    RecentKeys,
    append_kv,
    compress_keys,
    compress_new_keys,
    compress_unrounded_keys,
)
from sala_compile.sala_ir.reference.gates import output_gate
from sala_compile.sala_ir.reference.rounded_pages import RoundedCache, RoundedPages
from sala_compile.sala_ir.reference.rounding import Round, exact
from sala_compile.sala_ir.reference.selection import select_blocks

ROWS_PER_TILE = 128
"""Queries that attend at once; bounds memory and changes no result beyond rounding."""


def attend_blocks(
    q: Array,
    kv: KVCache,
    batch: Batch,
    blocks: Array | None = None,
    counts: Array | None = None,
    gate: Array | None = None,
    k: Array | None = None,
    v: Array | None = None,
    *,
    heads: Heads,
    block_size: int,
    operand_rounding: Round = exact,
    pages: RoundedPages | None = None,
) -> tuple[Array, Array]:
    """Attend causally to the selected blocks of `kv`, which holds the new keys already.

    Where full `pages` are rounded, `kv` holds those that the new tokens k, v complete, and recent
    ones from before the step: a query reads its own page unrounded.

    q, gate [tokens, num_heads * head_dim] -> out of the same shape, multiplied by sigmoid(gate)
    if there is one, and the int32 number of blocks read [tokens, kv_heads]. Without `blocks`, or
    where the count is negative, every block up to the query's own is read. `operand_rounding` is
    what q and the unnormalised probabilities are rounded to before their products.
    """
    xp = array_namespace(q)
    queries = operand_rounding(split_heads(q, heads.num_heads))
    kv_heads = heads.kv_heads
    tile = _Tile(scale=heads.scale, block_size=block_size, operand_rounding=operand_rounding)
    outs, reads = [queries[:0, ...]], [_blocks_up_to(np.zeros(0, np.int64), kv_heads, 1, q)]
    for group in batch.groups:
        selected = None
        if blocks is not None and counts is not None:
            selected = (blocks[group.rows, ...], counts[group.rows, :])
        past = _Past(kv, group) if pages is None else _RoundedPast(kv, group, pages, k, v)
        outs.append(_attend_group(tile, queries[group.rows, ...], past, group, selected))
        positions = np.concatenate([part.positions for part in group.parts])
        read = _blocks_up_to(positions, kv_heads, block_size, q)
        reads.append(read if selected is None else xp.where(selected[1] < 0, read, selected[1]))
    out = merge_heads(xp.concat(outs, axis=0))
    return out if gate is None else output_gate(out, gate), xp.concat(reads, axis=0)


def softmax_attention(
    q: Array,
    k: Array,
    v: Array,
    kv: Any,
    batch: Batch,
    *,
    heads: Heads,
    block_size: int,
    cache_rounding: Round = exact,
    operand_rounding: Round = exact,
    pages: RoundedPages | None = None,
) -> tuple[Array, Any]:
    """Append to the cache and attend densely: q, k, v -> out [tokens, num_heads * head_dim]."""
    written = _written(k, v, kv, batch, heads, cache_rounding, pages)
    out, _ = attend_blocks(
        q,
        written,
        batch,
        k=k,
        v=v,
        heads=heads,
        block_size=block_size,
        operand_rounding=operand_rounding,
        pages=pages,
    )
    return out, written if pages is None else pages.keep_recent(k, v, written, batch)


def _written(
    k: Array,
    v: Array,
    kv: Any,
    batch: Batch,
    heads: Heads,
    rounding: Round,
    pages: RoundedPages | None,
) -> Any:
    """The cache with what queries read of the new tokens: all, or the pages that they complete."""
    if pages is None:
        return append_kv(k, v, kv, batch, kv_heads=heads.kv_heads, rounding=rounding)
    return pages.round_pages(k, v, kv, batch)


@dataclass(frozen=True, slots=True)
class SparseAttention:
    """What `block_sparse_attention` computes: the output, the new states and the inner choice."""

    out: Array
    kv: Any
    compressed: CompressedKeys
    recent: RecentKeys | None
    blocks: Array
    counts: Array
    blocks_read: Array


def block_sparse_attention(
    q: Array,
    k: Array,
    v: Array,
    kv: Any,
    compressed: CompressedKeys,
    batch: Batch,
    choosing_q: Array | None = None,
    choosing_k: Array | None = None,
    recent: RecentKeys | None = None,
    *,
    heads: Heads,
    selection: BlockSelection,
    cache_rounding: Round = exact,
    compressed_rounding: Round = exact,
    operand_rounding: Round = exact,
    pages: RoundedPages | None = None,
) -> SparseAttention:
    """Append, compress, select and attend: the whole of section 6 up to the gate.

    With choosing_q, choosing_k and recent, these are what blocks are chosen by (`use_nope`).
    """
    new_kv = _written(k, v, kv, batch, heads, cache_rounding, pages)
    sizes: dict[str, Any] = {
        "kernel_size": selection.kernel_size,
        "kernel_stride": selection.kernel_stride,
    }
    if choosing_k is None or recent is None:
        new_recent = None
        sizes |= {"rounding": compressed_rounding}
        if pages is None:
            new_compressed = compress_keys(new_kv, compressed, batch, **sizes)
        else:
            new_compressed = compress_unrounded_keys(
                k, new_kv, compressed, batch, pages=pages, **sizes
            )
    else:
        new_recent, new_compressed = compress_new_keys(
            choosing_k,
            recent,
            compressed,
            batch,
            kv_heads=heads.kv_heads,
            **sizes,
            recent_rounding=cache_rounding,
            rounding=compressed_rounding,
        )
    blocks, counts = select_blocks(
        q if choosing_q is None else choosing_q,
        new_compressed,
        batch,
        heads=heads,
        selection=selection,
        operand_rounding=operand_rounding,
    )
    out, blocks_read = attend_blocks(
        q,
        new_kv,
        batch,
        blocks,
        counts,
        k=k,
        v=v,
        heads=heads,
        block_size=selection.block_size,
        operand_rounding=operand_rounding,
        pages=pages,
    )
    if pages is not None:
        new_kv = pages.keep_recent(k, v, new_kv, batch)
    return SparseAttention(out, new_kv, new_compressed, new_recent, blocks, counts, blocks_read)


@dataclass(frozen=True, slots=True)
class _Tile:
    scale: float
    block_size: int
    operand_rounding: Round

    def attend(
        self,
        queries: Array,
        keys: Array,
        values: Array,
        positions: np.ndarray,
        selected: tuple[Array, ...] | None,
    ) -> Array:
        """Return the output [queries, heads, head_dim] of queries of one sequence."""
        xp = array_namespace(queries, keys)
        rows, heads, head_dim = queries.shape
        length, kv_heads = keys.shape[:2]
        grouped = xp.reshape(queries, (rows, kv_heads, heads // kv_heads, head_dim))
        scores = self.scale * xp.matmul(
            xp.permute_dims(grouped, (1, 2, 0, 3)), xp.permute_dims(keys, (1, 2, 0))[:, None, ...]
        )
        mask = self._allowed(queries, positions, length, selected)
        scores = xp.where(mask, scores, -xp.inf)
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        total = xp.sum(weights, axis=-1, keepdims=True)
        by_head = xp.permute_dims(values, (1, 0, 2))[:, None, ...]
        out = xp.matmul(self.operand_rounding(weights), by_head) / total
        return xp.reshape(xp.permute_dims(out, (2, 0, 1, 3)), queries.shape)

    def _allowed(
        self,
        like: Array,
        positions: np.ndarray,
        length: int,
        selected: tuple[Array, ...] | None,
    ) -> Array:
        """Return which keys each query may read: bool [1 or kv heads, 1, queries, length]."""
        xp = array_namespace(like)
        key = indices_like(np.arange(length), like)
        causal = (key[None, :] <= indices_like(positions, like)[:, None])[None, None, ...]
        if selected is None:
            return causal
        blocks, counts = selected
        index = indices_like(np.arange(-(-length // self.block_size)), like)
        chosen = xp.any(blocks[:, :, None, :] == index[:, None], axis=-1)
        chosen = chosen | (counts[:, :, None] < 0)
        per_key = xp.take(chosen, key // self.block_size, axis=2)
        return causal & xp.permute_dims(per_key, (1, 0, 2))[:, None, ...]


@dataclass(frozen=True, slots=True)
class _Past:
    """Keys and values of sequences of equal lengths as the heads of one [tokens, heads, size]."""

    kv: KVCache
    group: SequenceGroup

    def tiles(self) -> Iterator[slice]:
        """The queries that read the same keys, some at a time."""
        for start in range(0, self.group.first.count, ROWS_PER_TILE):
            yield slice(start, start + ROWS_PER_TILE)

    def read(self, end: int) -> tuple[Array, ...]:
        """The keys and values before token `end` for the queries of a tile that ends there."""
        xp = array_namespace(self.kv[self.group.slots[0]][0])
        sides = ([self.kv[slot][side][:end, ...] for slot in self.group.slots] for side in (0, 1))
        return tuple(xp.concat(side, axis=1) for side in sides)


class _RoundedPast:
    """The same of a cache whose full pages are rounded: queries of a page read their own as is."""

    def __init__(self, kv: Any, group: SequenceGroup, pages: RoundedPages, k: Array, v: Array):
        self._group, self._pages = group, pages
        self._full = [pages.rounded(RoundedCache(*kv[slot])) for slot in group.slots]
        self._own = [pages.unrounded(k, v, kv, part) for part in group.parts]

    def tiles(self) -> Iterator[slice]:
        """The queries of a page at a time."""
        first, size = self._group.first, self._pages.page_tokens
        for page in range(first.history // size, -(-first.length // size)):
            begin, end = max(page * size, first.history), min(page * size + size, first.length)
            if begin < end:
                yield slice(begin - first.history, end - first.history)

    def read(self, end: int) -> tuple[Array, ...]:
        """The keys and values before token `end` for the queries of a tile that ends there."""
        page = (end - 1) // self._pages.page_tokens
        xp = array_namespace(self._own[0][0])
        rows = zip(self._full, self._own, self._group.parts, strict=True)
        read = [
            [self._pages.readable(full[side], own[side], part, page, end) for side in (0, 1)]
            for full, own, part in rows
        ]
        return tuple(xp.concat([each[side] for each in read], axis=1) for side in (0, 1))


def _attend_group(
    tile: _Tile,
    queries: Array,
    past: _Past | _RoundedPast,
    group: SequenceGroup,
    selected: tuple[Array, Array] | None,
) -> Array:
    """Attend for sequences of equal lengths, folded into the heads of one sequence."""
    xp = array_namespace(queries)
    count, positions = len(group.parts), group.first.positions
    folded = fold_sequences(queries, count)
    if selected is not None:
        blocks, counts = selected
        folded_counts = fold_sequences(counts[:, :, None], count)[:, :, 0]
        selected = (fold_sequences(blocks, count), folded_counts)
    outs = [folded[:0, ...]]
    for rows in past.tiles():
        part = None if selected is None else (selected[0][rows, ...], selected[1][rows, :])
        keys, values = past.read(int(positions[rows][-1]) + 1)
        outs.append(tile.attend(folded[rows, ...], keys, values, positions[rows], part))
    return unfold_sequences(xp.concat(outs, axis=0), count)


def _blocks_up_to(positions: np.ndarray, kv_heads: int, block_size: int, like: Array) -> Array:
    xp = array_namespace(like)
    own = xp.astype(indices_like(positions // block_size + 1, like), xp.int32)
    return xp.broadcast_to(own[:, None], (own.shape[0], kv_heads))
