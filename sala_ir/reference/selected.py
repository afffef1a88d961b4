"""Attention to chosen pools of tokens, and to those after the last complete pool."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.reference.arrays import Array, indices_like
from sala_compile.sala_ir.reference.attention import attend_blocks
from sala_compile.sala_ir.reference.batch import Batch
from sala_compile.sala_ir.reference.cache import KVCache, append_kv
from sala_compile.sala_ir.reference.rounding import Round, exact


def attend_pools(
    q: Array,
    kv: KVCache,
    batch: Batch,
    selection: Array,
    gate: Array | None = None,
    *,
    heads: Heads,
    pool: int,
    operand_rounding: Round = exact,
) -> Array:
    """Attend to the chosen pools of `kv`, which holds the new keys already, and to the open one.

    q, gate [tokens, num_heads * head_dim] -> out of the same shape. selection [tokens, count]:
    pools that end by the token, ascending, then -1. What comes after the last complete pool is the
    part of one more pool: the causal mask leaves of it what is there.
    """
    xp = array_namespace(q)
    chosen = indices_like(selection, q)
    open_pool = indices_like((batch.positions + 1) // pool, q)[:, None]
    blocks = xp.concat([chosen, open_pool], axis=1)[:, None, :]
    rows, kv_heads = blocks.shape[0], heads.kv_heads
    blocks = xp.broadcast_to(blocks, (rows, kv_heads, blocks.shape[2]))
    counts = xp.sum(xp.astype(blocks >= 0, xp.int64), axis=-1)
    out, _ = attend_blocks(
        q,
        kv,
        batch,
        blocks,
        counts,
        gate,
        heads=heads,
        block_size=pool,
        operand_rounding=operand_rounding,
    )
    return out


def selected_attention(
    q: Array,
    k: Array,
    v: Array,
    kv: KVCache,
    batch: Batch,
    selection: Array,
    *,
    heads: Heads,
    pool: int,
    cache_rounding: Round = exact,
    operand_rounding: Round = exact,
) -> tuple[Array, KVCache]:
    """Append to the cache and attend to the selection: out [tokens, num_heads * head_dim]."""
    kv_heads = heads.kv_heads
    written = append_kv(k, v, kv, batch, kv_heads=kv_heads, rounding=cache_rounding)
    out = attend_pools(
        q, written, batch, selection, heads=heads, pool=pool, operand_rounding=operand_rounding
    )
    return out, written
