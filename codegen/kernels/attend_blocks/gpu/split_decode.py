"""The Triton functions that attend where every sequence has one new token.

Entries of a list (of the past) are distributed over SPLITS programs in turn, then their parts are
combined, in an order that only the number of entries decides.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.attend_blocks.gpu.constants import Constants
from sala_compile.codegen.kernels.attend_blocks.gpu.online_softmax import (
    MASKED,
    add_block,
    clear_padding,
    no_blocks,
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
    C: Constants,
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
    line = token.to(tl.int64) * C.KV_HEADS + head
    length = position // C.BLOCK + 1
    listed = length < 0
    if C.LISTS:
        count = tl.minimum(tl.load(counts + line), C.BUDGET)
        listed = count >= 0
        length = tl.where(listed, count, length)
    if split == 0:
        tl.store(blocks_read + line, length)
    if split >= length:
        return
    queries = load_queries(q, k_pool, token, token + 1, head, C)
    inside = tl.arange(0, C.TOKENS)
    maxima, totals, outputs = no_blocks(C)
    slot = tl.load(slots + tl.load(token_sequence + token)).to(tl.int64)
    for index in range(split, length, C.SPLITS):
        block = index
        if C.LISTS:
            entry = tl.load(blocks + line * C.BUDGET + index, mask=listed, other=0)
            inside_past = tl.minimum(tl.maximum(entry, 0), position // C.BLOCK)
            block = tl.where(listed, inside_past, index)
        page = tl.load(page_table + slot * table_columns + block // C.PAGE_BLOCKS)
        written = position + 1 - block * C.BLOCK
        shown = (inside < tl.minimum(written, C.BLOCK))[None, :]
        maxima, totals, outputs = add_block(
            queries, k_pool, v_pool, page, block, head, shown, written, maxima, totals, outputs, C
        )
    row = tl.arange(0, C.HEADS)
    column = tl.arange(0, C.COLUMNS)
    at = ((line * C.GROUP + row) * C.SPLITS) + split
    mask = (row < C.GROUP)[:, None] & (column < C.D)[None, :]
    tl.store(parts + at[:, None] * C.D + column[None, :], outputs / totals[:, None], mask=mask)
    # Base-2 log-sum-exp of the part: parts combine by 2^(log - largest log).
    tl.store(sums + at, maxima + tl.log2(totals), mask=row < C.GROUP)


@triton.jit
def combine_splits(control, blocks_read, gate, out, parts, sums, C: Constants):
    """The gated sum of the parts of a head: programs (tokens, heads). SPLITS is a power of two."""
    token = tl.program_id(0)
    head = tl.program_id(1)
    if token >= tl.load(control):
        return
    length = tl.load(blocks_read + token.to(tl.int64) * C.KV_HEADS + head // C.GROUP)
    split = tl.arange(0, C.SPLITS)
    column = tl.arange(0, C.COLUMNS)
    at = (token.to(tl.int64) * (C.KV_HEADS * C.GROUP) + head) * C.SPLITS + split
    logs = tl.load(sums + at, mask=split < length, other=MASKED)
    mask = (split < length)[:, None] & (column < C.D)[None, :]
    values = tl.load(parts + at[:, None] * C.D + column[None, :], mask=mask, other=0.0)
    weights = tl.exp2(logs - tl.max(logs, 0))
    result = tl.sum(values * weights[:, None], 0) / tl.sum(weights, 0)  # type: ignore
    row = token.to(tl.int64)
    if C.GATE:
        at = row * C.GATE_PITCH + C.GATE_START + head * C.D + column
        result = result * tl.sigmoid(tl.load(gate + at, mask=column < C.D, other=0.0))
    to = out + row * C.OUT_PITCH + head * C.D + column
    tl.store(to, result.to(out.dtype.element_ty), mask=column < C.D)
    last = tl.where(head == C.KV_HEADS * C.GROUP - 1, C.KV_HEADS - 1, -1)
    clear_padding(out, token, token + 1, last, C)
