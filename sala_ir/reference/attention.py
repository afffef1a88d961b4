"""Softmax attention, dense and over selected blocks (sections 6.1, 6.7 and 6.8)."""

from dataclasses import dataclass

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
from sala_compile.sala_ir.reference.cache import CompressedKeys, KVCache, append_kv, compress_keys
from sala_compile.sala_ir.reference.gates import output_gate
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
    *,
    heads: Heads,
    block_size: int,
    operand_rounding: Round = exact,
) -> tuple[Array, Array]:
    """Attend causally to the selected blocks of `kv`, which holds the new keys already.

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
        outs.append(_attend_group(tile, queries[group.rows, ...], kv, group, selected))
        positions = np.concatenate([part.positions for part in group.parts])
        read = _blocks_up_to(positions, kv_heads, block_size, q)
        reads.append(read if selected is None else xp.where(selected[1] < 0, read, selected[1]))
    out = merge_heads(xp.concat(outs, axis=0))
    return out if gate is None else output_gate(out, gate), xp.concat(reads, axis=0)


def softmax_attention(
    q: Array,
    k: Array,
    v: Array,
    kv: KVCache,
    batch: Batch,
    *,
    heads: Heads,
    block_size: int,
    cache_rounding: Round = exact,
    operand_rounding: Round = exact,
) -> tuple[Array, KVCache]:
    """Append to the cache and attend densely: q, k, v -> out [tokens, num_heads * head_dim]."""
    updated = append_kv(k, v, kv, batch, kv_heads=heads.kv_heads, rounding=cache_rounding)
    out, _ = attend_blocks(
        q,
        updated,
        batch,
        heads=heads,
        block_size=block_size,
        operand_rounding=operand_rounding,
    )
    return out, updated


@dataclass(frozen=True, slots=True)
class SparseAttention:
    """What `block_sparse_attention` computes: the output, the new states and the inner choice."""

    out: Array
    kv: KVCache
    compressed: CompressedKeys
    blocks: Array
    counts: Array
    blocks_read: Array


def block_sparse_attention(
    q: Array,
    k: Array,
    v: Array,
    kv: KVCache,
    compressed: CompressedKeys,
    batch: Batch,
    *,
    heads: Heads,
    selection: BlockSelection,
    cache_rounding: Round = exact,
    compressed_rounding: Round = exact,
    operand_rounding: Round = exact,
) -> SparseAttention:
    """Append, compress, select and attend: the whole of section 6 up to the gate."""
    new_kv = append_kv(k, v, kv, batch, kv_heads=heads.kv_heads, rounding=cache_rounding)
    new_compressed = compress_keys(
        new_kv,
        compressed,
        batch,
        kernel_size=selection.kernel_size,
        kernel_stride=selection.kernel_stride,
        rounding=compressed_rounding,
    )
    blocks, counts = select_blocks(
        q,
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
        heads=heads,
        block_size=selection.block_size,
        operand_rounding=operand_rounding,
    )
    return SparseAttention(out, new_kv, new_compressed, blocks, counts, blocks_read)


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
        length = int(positions[-1]) + 1
        kv_heads = keys.shape[1]
        grouped = xp.reshape(queries, (rows, kv_heads, heads // kv_heads, head_dim))
        keys, values = keys[:length, ...], values[:length, ...]
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


def _attend_group(
    tile: _Tile,
    queries: Array,
    kv: KVCache,
    group: SequenceGroup,
    selected: tuple[Array, Array] | None,
) -> Array:
    """Attend for sequences of equal lengths, folded into the heads of one sequence."""
    xp = array_namespace(queries)
    count, positions = len(group.parts), group.first.positions
    folded = fold_sequences(queries, count)
    keys, values = (
        xp.concat([kv[slot][side][: group.first.length, ...] for slot in group.slots], axis=1)
        for side in (0, 1)
    )
    if selected is not None:
        blocks, counts = selected
        folded_counts = fold_sequences(counts[:, :, None], count)[:, :, 0]
        selected = (fold_sequences(blocks, count), folded_counts)
    outs = [folded[:0, ...]]
    for start in range(0, group.first.count, ROWS_PER_TILE):
        rows = slice(start, start + ROWS_PER_TILE)
        part = None if selected is None else (selected[0][rows, ...], selected[1][rows, :])
        outs.append(tile.attend(folded[rows, ...], keys, values, positions[rows], part))
    return unfold_sequences(xp.concat(outs, axis=0), count)


def _blocks_up_to(positions: np.ndarray, kv_heads: int, block_size: int, like: Array) -> Array:
    xp = array_namespace(like)
    own = xp.astype(indices_like(positions // block_size + 1, like), xp.int32)
    return xp.broadcast_to(own[:, None], (own.shape[0], kv_heads))
