"""Latent attention: one row of a token for all heads, in the form that the cache is read in."""

from collections.abc import Mapping

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import LatentHeads
from sala_compile.sala_ir.reference.arrays import Array, mask_like, merge_heads, split_heads
from sala_compile.sala_ir.reference.attention import ROWS_PER_TILE
from sala_compile.sala_ir.reference.batch import Batch
from sala_compile.sala_ir.reference.indexer import selected_tokens
from sala_compile.sala_ir.reference.rounding import Round, exact

LatentCache = Mapping[int, Array]
"""Slot -> rows [tokens, latent_dim + rotary_dim]."""


def latent_attention(
    q: Array,
    latent: Array,
    rotary: Array | None,
    cache: LatentCache,
    batch: Batch,
    key_weight: Array,
    value_weight: Array,
    selection: Array | None = None,
    *,
    heads: LatentHeads,
    pool: int = 1,
    cache_rounding: Round = exact,
    operand_rounding: Round = exact,
) -> tuple[Array, LatentCache]:
    """Append and attend; the operands are those of `LatentAttentionOp`: out [tokens, heads * V].

    K_h and V_h are taken to the other side of the sums over tokens: (q K) c = q (K c), and
    sum p (V c) = V (sum p c). `operand_rounding` is also what is between these products.
    """
    absorbed = operand_rounding(head_linear(q, key_weight, num_heads=heads.num_heads))
    mixed, written = attend_latents(
        absorbed,
        q,
        latent,
        rotary,
        cache,
        batch,
        selection,
        heads=heads,
        pool=pool,
        cache_rounding=cache_rounding,
        operand_rounding=operand_rounding,
    )
    out = head_linear(operand_rounding(mixed), value_weight, num_heads=heads.num_heads)
    return out, written


def head_linear(x: Array, weight: Array, *, num_heads: int) -> Array:
    """Return x_h W_h of every head h, of which the first A of P columns are read.

    x [rows, heads * P], weight [heads * A, B] -> [rows, heads * B].
    """
    xp = array_namespace(x, weight)
    by_head = xp.reshape(weight, (num_heads, weight.shape[0] // num_heads, weight.shape[1]))
    inputs = split_heads(x, num_heads)[:, :, : by_head.shape[1]]
    product = xp.matmul(xp.permute_dims(inputs, (1, 0, 2)), by_head)
    return merge_heads(xp.permute_dims(product, (1, 0, 2)))


def attend_latents(
    absorbed: Array,
    q: Array,
    latent: Array,
    rotary: Array | None,
    cache: LatentCache,
    batch: Batch,
    selection: Array | None = None,
    *,
    heads: LatentHeads,
    pool: int = 1,
    cache_rounding: Round = exact,
    operand_rounding: Round = exact,
) -> tuple[Array, LatentCache]:
    """Append rows and attend to them; the operands are those of `AttendLatentsOp`.

    absorbed [tokens, heads * C], q [tokens, heads * (K + R)], latent [tokens, C], rotary [tokens,
    R] or None if R is 0, selection int [tokens, count] -> out [tokens, heads * C].
    `operand_rounding` is what queries and the unnormalised probabilities are rounded to before
    their products.
    """
    xp = array_namespace(absorbed)
    kept = latent if rotary is None else xp.concat([latent, rotary], axis=1)
    rows = cache_rounding(kept)
    rotated = split_heads(q, heads.num_heads)[:, :, heads.key_dim :]
    parts = [split_heads(absorbed, heads.num_heads), rotated]
    queries = xp.permute_dims(operand_rounding(xp.concat(parts, axis=2)), (1, 0, 2))
    outs, updated = [absorbed[:0, :]], dict(cache)
    for part in batch:
        past = cache[part.slot][: part.history, :] if part.history else rows[:0, :]
        known = xp.concat([past, rows[part.rows, :]], axis=0)
        updated[part.slot] = known
        for start in range(part.start, part.stop, ROWS_PER_TILE):
            stop = min(start + ROWS_PER_TILE, part.stop)
            read = known[: part.history + stop - part.start, :]
            positions = part.positions[start - part.start : stop - part.start]
            keys = np.arange(int(read.shape[0]))[None, :]
            allowed = mask_like(np.less_equal(keys, positions[:, None]), rows)
            if selection is not None:
                chosen = selection[start:stop, :]
                allowed = selected_tokens(chosen, positions, read.shape[0], pool=pool) & allowed
            scores = heads.scale * xp.matmul(queries[:, start:stop, :], xp.matrix_transpose(read))
            scores = xp.where(allowed, scores, -xp.inf)
            weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
            mixed = xp.matmul(operand_rounding(weights), read[:, : heads.latent_dim])
            mixed = mixed / xp.sum(weights, axis=-1, keepdims=True)
            outs.append(merge_heads(xp.permute_dims(mixed, (1, 0, 2))))
    return xp.concat(outs, axis=0), updated
