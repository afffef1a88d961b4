"""The Triton functions that attend where every sequence has one new token.

Entries of a list (of the past) are distributed over SPLITS programs in turn, then their parts are
combined, in an order that only the number of entries decides.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.attend_blocks.gpu.online_softmax import (
    MASKED,
    add_block,
    clear_padding,
)
from sala_compile.codegen.kernels.triton.tiles import load_queries


@triton.jit
def attend_split(
    control,
    token_sequence,
    token_position,
    slots,
    page_table,
    q,
    k_pool,
    v_pool,
    blocks,
    counts,
    blocks_read,
    parts,
    sums,
    table_columns,
    LISTS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
    PAGE_BLOCKS: tl.constexpr,
    D: tl.constexpr,
    SCALE: tl.constexpr,
    Q_START: tl.constexpr,
    Q_PITCH: tl.constexpr,
    HEADS: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
    BUDGET: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """parts [tokens, heads, SPLITS, D] and their base-2 log-sum-exp; programs (tokens, kv heads,
    splits). A part without entries is not written.
    """
    token = tl.program_id(0)
    head = tl.program_id(1)
    split = tl.program_id(2)
    if token >= tl.load(control):
        return
    position = tl.load(token_position + token)
    line = token.to(tl.int64) * KV_HEADS + head
    length = position // BLOCK + 1
    listed = length < 0
    if LISTS:
        count = tl.minimum(tl.load(counts + line), BUDGET)
        listed = count >= 0
        length = tl.where(listed, count, length)
    if split == 0:
        tl.store(blocks_read + line, length)
    if split >= length:
        return
    queries = load_queries(
        q,
        k_pool,
        token,
        token + 1,
        head,
        GROUP,
        D,
        Q_START,
        Q_PITCH,
        1,  # type: ignore
        HEADS,
        COLUMNS,
    )
    inside = tl.arange(0, TOKENS)
    maxima = tl.full((HEADS,), 0.5 * MASKED, tl.float32)
    totals = tl.zeros((HEADS,), tl.float32)
    outputs = tl.zeros((HEADS, COLUMNS), tl.float32)
    slot = tl.load(slots + tl.load(token_sequence + token)).to(tl.int64)
    for index in range(split, length, SPLITS):
        block = index
        if LISTS:
            entry = tl.load(blocks + line * BUDGET + index, mask=listed, other=0)
            inside_past = tl.minimum(tl.maximum(entry, 0), position // BLOCK)
            block = tl.where(listed, inside_past, index)
        page = tl.load(page_table + slot * table_columns + block // PAGE_BLOCKS)
        written = position + 1 - block * BLOCK
        shown = (inside < tl.minimum(written, BLOCK))[None, :]
        maxima, totals, outputs = add_block(
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
            KV_HEADS,
            BLOCK,
            PAGE_BLOCKS,
            D,
            SCALE,
            TOKENS,
            COLUMNS,
        )
    row = tl.arange(0, HEADS)
    column = tl.arange(0, COLUMNS)
    at = ((line * GROUP + row) * SPLITS) + split
    mask = (row < GROUP)[:, None] & (column < D)[None, :]
    tl.store(parts + at[:, None] * D + column[None, :], outputs / totals[:, None], mask=mask)
    # Base-2 log-sum-exp of the part: parts combine by 2^(log - largest log).
    tl.store(sums + at, maxima + tl.log2(totals), mask=row < GROUP)


@triton.jit
def combine_splits(
    control,
    blocks_read,
    gate,
    out,
    parts,
    sums,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    GATE: tl.constexpr,
    GATE_START: tl.constexpr,
    GATE_PITCH: tl.constexpr,
    OUT_PITCH: tl.constexpr,
    COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """The gated sum of the parts of a head: programs (tokens, heads). SPLITS is a power of two."""
    token = tl.program_id(0)
    head = tl.program_id(1)
    if token >= tl.load(control):
        return
    length = tl.load(blocks_read + token.to(tl.int64) * KV_HEADS + head // GROUP)
    split = tl.arange(0, SPLITS)
    column = tl.arange(0, COLUMNS)
    at = (token.to(tl.int64) * (KV_HEADS * GROUP) + head) * SPLITS + split
    logs = tl.load(sums + at, mask=split < length, other=MASKED)
    mask = (split < length)[:, None] & (column < D)[None, :]
    values = tl.load(parts + at[:, None] * D + column[None, :], mask=mask, other=0.0)
    weights = tl.exp2(logs - tl.max(logs, 0))
    result = tl.sum(values * weights[:, None], 0) / tl.sum(weights, 0)  # type: ignore
    row = token.to(tl.int64)
    if GATE:
        at = row * GATE_PITCH + GATE_START + head * D + column
        result = result * tl.sigmoid(tl.load(gate + at, mask=column < D, other=0.0))
    to = out + row * OUT_PITCH + head * D + column
    tl.store(to, result.to(out.dtype.element_ty), mask=column < D)
    last = tl.where(head == KV_HEADS * GROUP - 1, KV_HEADS - 1, -1)
    clear_padding(out, token, token + 1, last, KV_HEADS, GROUP, D, OUT_PITCH, 1)  # type: ignore
