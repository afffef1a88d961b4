"""The Triton functions that attend for tiles of several queries."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.attend_blocks.gpu.constants import Constants
from sala_compile.codegen.kernels.attend_blocks.gpu.online_softmax import (
    add_block,
    finish,
    no_blocks,
)
from sala_compile.codegen.kernels.triton.tiles import load_queries, query_tile

UNLISTED = tl.constexpr(0x7FFFFFFF)


@triton.jit
def merge_lists(
    control,
    offsets,
    token_sequence,
    token_position,
    slots,
    page_table,
    blocks,
    counts,
    blocks_read,
    entries,
    pages,
    lengths,
    table_columns,
    C: Constants,
):
    """The union of the lists of a tile, ascending: programs (tiles of queries, kv heads).

    entries [tiles, kv heads, QUERIES * BUDGET] are block << QUERIES with a bit for each query that
    chose it, pages the pages of the blocks, lengths [tiles, kv heads], -1 for a dense sequence.
    LIST is a power of two that holds BUDGET entries.
    """
    tile = tl.program_id(0)
    head = tl.program_id(1)
    tokens, sequences = tl.load(control), tl.load(control + 1)
    sequence, first, stop = query_tile(offsets, sequences, 0, tokens, tile, C.QUERIES)
    if stop <= first:
        return
    to = (tile * C.KV_HEADS + head).to(tl.int64)
    if tl.load(counts + first.to(tl.int64) * C.KV_HEADS + head) < 0:
        tl.store(lengths + to, -1)
        return
    SIZE: tl.constexpr = C.QUERIES * C.LIST
    index = tl.arange(0, SIZE)
    token, entry = first + index // C.LIST, index % C.LIST
    line = token.to(tl.int64) * C.KV_HEADS + head
    count = tl.minimum(tl.load(counts + line, mask=token < stop, other=0), C.BUDGET)
    tl.store(blocks_read + line, count, mask=(token < stop) & (entry == 0))
    own = (tl.load(token_position + first) + stop - first - 1) // C.BLOCK
    block = tl.load(blocks + line * C.BUDGET + entry, mask=entry < count, other=0)
    block = tl.minimum(tl.maximum(block, 0), own)
    # Block in the high bits, query in the low ones: sorting brings equal blocks together.
    chosen = tl.where(entry < count, block * C.QUERIES + index // C.LIST, UNLISTED)
    chosen = tl.sort(chosen)
    block = chosen // C.QUERIES
    before = tl.gather(block, tl.maximum(index - 1, 0), 0)
    begins = (chosen != UNLISTED) & ((index == 0) | (before != block))
    # A bit for each query of the run of equal blocks that begins here.
    members = 1 << (chosen % C.QUERIES)  # type: ignore
    for step in tl.static_range(1, C.QUERIES):  # type: ignore
        other = tl.gather(chosen, tl.minimum(index + step, SIZE - 1), 0)
        same = (index + step < SIZE) & (other // C.QUERIES == block)
        members += tl.where(same, 1 << (other % C.QUERIES), 0)
    place = tl.cumsum(begins.to(tl.int32), 0)
    slot = tl.load(slots + sequence).to(tl.int64)
    page = tl.load(page_table + slot * table_columns + block // C.PAGE_BLOCKS, mask=begins, other=0)
    at = to * (C.QUERIES * C.BUDGET) + place - 1
    tl.store(entries + at, (block << C.QUERIES) | members, mask=begins)
    tl.store(pages + at, page, mask=begins)
    tl.store(lengths + to, tl.sum(begins.to(tl.int32), 0))


@triton.jit
def attend_union(
    control,
    offsets,
    token_position,
    q,
    k_pool,
    v_pool,
    gate,
    out,
    entries,
    pages,
    lengths,
    C: Constants,
):
    """Attention of a tile over the union of its lists: programs (tiles of queries, kv heads)."""
    tile = tl.program_id(0)
    head = tl.program_id(1)
    tokens, sequences = tl.load(control), tl.load(control + 1)
    _, first, stop = query_tile(offsets, sequences, 0, tokens, tile, C.QUERIES)
    if stop <= first:
        return
    to = (tile * C.KV_HEADS + head).to(tl.int64)
    length = tl.load(lengths + to)
    if length < 0:
        return
    begin = tl.load(token_position + first)
    end = begin + stop - first
    queries = load_queries(q, k_pool, first, stop, head, C)
    query = tl.arange(0, C.QUERIES * C.HEADS) // C.HEADS
    inside = tl.arange(0, C.TOKENS)
    maxima, totals, outputs = no_blocks(C)
    entries += to * (C.QUERIES * C.BUDGET)
    pages += to * (C.QUERIES * C.BUDGET)
    for index in range(0, length):
        entry = tl.load(entries + index)
        page = tl.load(pages + index)
        block = entry >> C.QUERIES
        start = block * C.BLOCK
        last = tl.where(((entry >> query) & 1) != 0, begin + query - start, -1)
        shown = inside[None, :] <= tl.minimum(last, C.BLOCK - 1)[:, None]
        maxima, totals, outputs = add_block(
            queries,
            k_pool,
            v_pool,
            page,
            block,
            head,
            shown,
            end - start,
            maxima,
            totals,
            outputs,
            C,
        )
    finish(outputs, totals, gate, out, first, stop, head, C)


@triton.jit
def attend_past(
    control,
    offsets,
    token_position,
    slots,
    page_table,
    q,
    k_pool,
    v_pool,
    counts,
    gate,
    out,
    blocks_read,
    table_columns,
    C: Constants,
):
    """Attention of a tile over all of the past: programs (tiles of queries, kv heads).

    If there are LISTS, only for sequences whose count is negative.
    """
    head = tl.program_id(1)
    tokens, sequences = tl.load(control), tl.load(control + 1)
    sequence, first, stop = query_tile(offsets, sequences, 0, tokens, tl.program_id(0), C.QUERIES)
    if stop <= first:
        return
    if C.LISTS:  # noqa: SIM102, a condition of the compilation and one of the program
        if tl.load(counts + first.to(tl.int64) * C.KV_HEADS + head) >= 0:
            return
    begin = tl.load(token_position + first)
    end = begin + stop - first
    queries = load_queries(q, k_pool, first, stop, head, C)
    token = first + tl.arange(0, C.QUERIES)
    own = (begin + tl.arange(0, C.QUERIES)) // C.BLOCK
    read = blocks_read + token.to(tl.int64) * C.KV_HEADS + head
    tl.store(read, own + 1, mask=token < stop)
    query = tl.arange(0, C.QUERIES * C.HEADS) // C.HEADS
    inside = tl.arange(0, C.TOKENS)
    maxima, totals, outputs = no_blocks(C)
    pages = page_table + tl.load(slots + sequence).to(tl.int64) * table_columns
    for block in range(0, (end - 1) // C.BLOCK + 1):
        page = tl.load(pages + block // C.PAGE_BLOCKS)
        last = begin + query - block * C.BLOCK
        shown = inside[None, :] <= tl.minimum(last, C.BLOCK - 1)[:, None]
        maxima, totals, outputs = add_block(
            queries,
            k_pool,
            v_pool,
            page,
            block,
            head,
            shown,
            end - block * C.BLOCK,
            maxima,
            totals,
            outputs,
            C,
        )
    finish(outputs, totals, gate, out, first, stop, head, C)
