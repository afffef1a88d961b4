"""Triton device functions that attend_blocks is made of: one block of keys, and the end.

Row r of a tile is head r % HEADS of the group, HEADS a power of two, of query r // HEADS. All of
them leave a row alone that a mask excludes, so that no bit of a row depends on its tile.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.attend_blocks.gpu.constants import Constants

MASKED = tl.constexpr(-1.0e30)
"""The score of a key that may not be read: its exponential is 0 next to any maximum."""


@triton.jit
def no_blocks(C: Constants):
    """Maxima, totals and outputs of the rows of a tile before the first block."""
    ROWS: tl.constexpr = C.QUERIES * C.HEADS
    maxima = tl.full((ROWS,), 0.5 * MASKED, tl.float32)
    return maxima, tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS, C.COLUMNS), tl.float32)


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
    C: Constants,
):
    """Maxima, totals and outputs with a block of keys added, where `shown` [rows, TOKENS].

    Memory after the first `written` tokens of the block may hold anything.
    """
    token = tl.arange(0, C.TOKENS)
    column = tl.arange(0, C.COLUMNS)
    first = (page.to(tl.int64) * C.KV_HEADS + head) * C.PAGE_BLOCKS + block % C.PAGE_BLOCKS
    at = first * (C.BLOCK * C.D)
    live = token < tl.minimum(written, C.BLOCK)
    keys = tl.load(
        k_pool + at + token[None, :] * C.D + column[:, None],
        mask=live[None, :] & (column < C.D)[:, None],
        other=0.0,
    )
    values = tl.load(
        v_pool + at + token[:, None] * C.D + column[None, :],
        mask=live[:, None] & (column < C.D)[None, :],
        other=0.0,
    )
    # Times log2(e): exponentials are base 2, which is one instruction.
    scores = tl.dot(queries, keys, input_precision="ieee") * (C.SCALE * 1.4426950408889634)
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
def finish(outputs, totals, gate, out, first, stop, head, C: Constants):
    """Store the normalised and gated rows, and zeros after the last head."""
    row = tl.arange(0, C.QUERIES * C.HEADS)
    token, inside = first + row // C.HEADS, row % C.HEADS
    column = tl.arange(0, C.COLUMNS)
    mask = ((token < stop) & (inside < C.GROUP))[:, None] & (column < C.D)[None, :]
    values = outputs / tl.where(totals > 0, totals, 1.0)[:, None]
    at = ((head * C.GROUP + inside) * C.D)[:, None] + column[None, :]
    place = token.to(tl.int64)[:, None]
    if C.GATE:
        factor = tl.load(gate + place * C.GATE_PITCH + C.GATE_START + at, mask=mask, other=0.0)
        values = values * tl.sigmoid(factor)
    tl.store(out + place * C.OUT_PITCH + at, values.to(out.dtype.element_ty), mask=mask)
    clear_padding(out, first, stop, head, C)


@triton.jit
def clear_padding(out, first, stop, head, C: Constants):
    """Zeros after the last head of the tokens of a tile."""
    USED: tl.constexpr = C.KV_HEADS * C.GROUP * C.D
    if USED < C.OUT_PITCH:
        token = first + tl.arange(0, C.QUERIES)
        column = USED + tl.arange(0, 16)
        end = tl.where(head == C.KV_HEADS - 1, C.OUT_PITCH, 0)
        mask = (token < stop)[:, None] & (column < end)[None, :]
        zeros = tl.zeros((C.QUERIES, 16), out.dtype.element_ty)
        tl.store(
            out + token.to(tl.int64)[:, None] * C.OUT_PITCH + column[None, :], zeros, mask=mask
        )
