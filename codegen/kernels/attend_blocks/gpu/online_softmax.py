"""Triton device functions that attend_blocks is made of: one block of keys, and the end.

Row r of a tile is head r % HEADS of the group, HEADS a power of two, of query r // HEADS. All of
them leave a row alone that a mask excludes, so that no bit of a row depends on its tile.
"""

import triton
import triton.language as tl

MASKED = tl.constexpr(-1.0e30)
"""The score of a key that may not be read: its exponential is 0 next to any maximum."""


@triton.jit
def add_block(
    queries,
    k_pool,
    v_pool,
    page,
    block,
    head,
    shown,
    written,
    maxima,
    totals,
    outputs,
    KV_HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
    PAGE_BLOCKS: tl.constexpr,
    D: tl.constexpr,
    SCALE: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Maxima, totals and outputs with a block of keys added, where `shown` [rows, TOKENS].

    Memory after the first `written` tokens of the block may hold anything.
    """
    token = tl.arange(0, TOKENS)
    column = tl.arange(0, COLUMNS)
    first = (page.to(tl.int64) * KV_HEADS + head) * PAGE_BLOCKS + block % PAGE_BLOCKS
    at = first * (BLOCK * D)
    live = token < tl.minimum(written, BLOCK)
    keys = tl.load(
        k_pool + at + token[None, :] * D + column[:, None],
        mask=live[None, :] & (column < D)[:, None],
        other=0.0,
    )
    values = tl.load(
        v_pool + at + token[:, None] * D + column[None, :],
        mask=live[:, None] & (column < D)[None, :],
        other=0.0,
    )
    # Times log2(e): exponentials are base 2, which is one instruction.
    scores = tl.dot(queries, keys, input_precision="ieee") * (SCALE * 1.4426950408889634)
    scores = tl.where(shown, scores, MASKED)
    top = tl.maximum(maxima, tl.max(scores, 1))
    factor = tl.exp2(maxima - top)
    weights = tl.exp2(scores - top[:, None])
    totals = totals * factor + tl.sum(weights, 1)
    outputs = tl.dot(
        weights.to(values.dtype), values, outputs * factor[:, None], input_precision="ieee"
    )
    return top, totals, outputs


@triton.jit
def finish(
    outputs,
    totals,
    gate,
    out,
    first,
    stop,
    head,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    GATE: tl.constexpr,
    GATE_START: tl.constexpr,
    GATE_PITCH: tl.constexpr,
    OUT_PITCH: tl.constexpr,
    QUERIES: tl.constexpr,
    HEADS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Store the normalised and gated rows, and zeros after the last head."""
    row = tl.arange(0, QUERIES * HEADS)
    token, inside = first + row // HEADS, row % HEADS
    column = tl.arange(0, COLUMNS)
    mask = ((token < stop) & (inside < GROUP))[:, None] & (column < D)[None, :]
    values = outputs / tl.where(totals > 0, totals, 1.0)[:, None]
    at = ((head * GROUP + inside) * D)[:, None] + column[None, :]
    place = token.to(tl.int64)[:, None]
    if GATE:
        factor = tl.load(gate + place * GATE_PITCH + GATE_START + at, mask=mask, other=0.0)
        values = values * tl.sigmoid(factor)
    tl.store(out + place * OUT_PITCH + at, values.to(out.dtype.element_ty), mask=mask)
    clear_padding(out, first, stop, head, KV_HEADS, GROUP, D, OUT_PITCH, QUERIES)


@triton.jit
def clear_padding(
    out,
    first,
    stop,
    head,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    OUT_PITCH: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """Zeros after the last head of the tokens of a tile."""
    USED: tl.constexpr = KV_HEADS * GROUP * D
    if USED < OUT_PITCH:
        token = first + tl.arange(0, QUERIES)
        column = USED + tl.arange(0, 16)
        end = tl.where(head == KV_HEADS - 1, OUT_PITCH, 0)
        mask = (token < stop)[:, None] & (column < end)[None, :]
        zeros = tl.zeros((QUERIES, 16), out.dtype.element_ty)
        tl.store(out + token.to(tl.int64)[:, None] * OUT_PITCH + column[None, :], zeros, mask=mask)
