"""The Triton functions that score compressed keys and blocks.

Row r of a tile is head r % HEADS of the group, HEADS a power of two, of query r // HEADS. Tiles of
keys are distributed over SPLITS programs in turn, so that no bit depends on where a sequence ends.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.select_blocks.gpu.constants import Constants
from sala_compile.codegen.kernels.triton.tiles import load_queries, query_tile

MASKED = tl.constexpr(-1.0e30)
"""The logit of a key that is not visible: its exponential is 0 next to any maximum."""


@triton.jit
def sum_coarse(
    control,
    offsets,
    token_position,
    call_lengths,
    slots,
    compressed_table,
    q,
    pool,
    sums,
    compressed_columns,
    slab,
    C: Constants,
):
    """Base-2 log-sum-exp of a share of the coarse keys: sums [slab tokens, heads, SPLITS].

    Programs (tiles of queries, kv heads, splits). SPAN is the stride of a coarse key, SLOTS those
    of a page, a multiple of KEYS.
    """
    head = tl.program_id(1)
    split = tl.program_id(2)
    first, stop, slot, position = _tile(
        control, offsets, token_position, call_lengths, slots, slab, C
    )
    last = position + stop - first - 1
    if (stop <= first) | (last < C.UNSCORED):
        return
    row = tl.arange(0, C.QUERIES * C.HEADS)
    queries = load_queries(q, pool, first, stop, head, C)
    visible = tl.maximum((position + row // C.HEADS + 1) // C.SPAN - 1, 0)
    seen = (last + 1) // C.SPAN
    maxima = tl.full((C.QUERIES * C.HEADS,), 0.5 * MASKED, tl.float32)
    totals = tl.zeros((C.QUERIES * C.HEADS,), tl.float32)
    pages = compressed_table + slot.to(tl.int64) * compressed_columns
    key = tl.arange(0, C.KEYS)
    column = tl.arange(0, C.COLUMNS)
    for start in range(split * C.KEYS, seen, C.SPLITS * C.KEYS):
        page = tl.load(pages + start // C.SLOTS).to(tl.int64)
        at = ((page * C.KV_HEADS + head) * C.SLOTS + start % C.SLOTS) * C.D  # type: ignore
        keys = tl.load(
            pool + at + key[None, :] * C.D + column[:, None],
            mask=(column < C.D)[:, None],
            other=0.0,
        )
        logits = tl.dot(queries, keys, input_precision="ieee") * (C.SCALE * 1.4426950408889634)
        place = start + key
        shown = (place > 0)[None, :] & (place[None, :] <= visible[:, None])
        logits = tl.where(shown, logits, MASKED)
        # Maxima begin at -5e29 and masked logits are -1e30: a masked key adds exactly 0.
        top = tl.maximum(maxima, tl.max(logits, 1))
        weights = tl.sum(tl.exp2(logits - top[:, None]), 1)
        totals = totals * tl.exp2(maxima - top) + weights
        maxima = top
    result = tl.where(totals > 0, maxima + tl.log2(tl.where(totals > 0, totals, 1.0)), MASKED)
    token = first + row // C.HEADS
    to = ((token - slab) * C.KV_HEADS + head) * C.GROUP + row % C.HEADS
    mask = (token < stop) & (row % C.HEADS < C.GROUP)
    tl.store(sums + to * C.SPLITS + split, result, mask=mask)


@triton.jit
def score_blocks(
    control,
    offsets,
    token_position,
    call_lengths,
    slots,
    compressed_table,
    q,
    pool,
    sums,
    scores,
    edges,
    compressed_columns,
    score_columns,
    edge_columns,
    slab,
    C: Constants,
):
    """Scores of the blocks before the local window: scores and edges [slab tokens, kv heads, ...].

    A tile of keys has the slots of BLOCKS blocks, RATIO to a block, STEP columns (a power of two)
    to a block in the product. The last block of a tile does not have the first key of the next
    tile, which that tile writes into `edges`: each key is scored once. Programs as of `sum_coarse`.
    """
    head = tl.program_id(1)
    split = tl.program_id(2)
    first, stop, slot, position = _tile(
        control, offsets, token_position, call_lengths, slots, slab, C
    )
    last = position + stop - first - 1
    if (stop <= first) | (last < C.UNSCORED):
        return
    row = tl.arange(0, C.QUERIES * C.HEADS)
    queries = load_queries(q, pool, first, stop, head, C)
    normaliser = _normaliser(sums, first, stop, slab, head, row, C)
    alive = normaliser > 0.5 * MASKED
    # Rows that see nothing, and those of no head, weigh nothing.
    normaliser = tl.where(alive, normaliser, -MASKED)[None, :]  # type: ignore
    columns = tl.trans(queries)
    query = tl.arange(0, C.QUERIES)
    visible = tl.maximum((position + query + 1) // C.SPAN - 1, 0)[None, :]
    wanted = last // (C.RATIO * C.SPAN) - C.WINDOW
    pages = compressed_table + slot.to(tl.int64) * compressed_columns
    column = tl.arange(0, C.COLUMNS)
    of_block, of_step = _places(C)
    inside = of_block * C.RATIO + of_step
    block = tl.arange(0, C.BLOCKS)
    following = (
        tl.zeros((C.BLOCKS, C.QUERIES), tl.int32) + tl.minimum(block + 1, C.BLOCKS - 1)[:, None]
    )
    token = first + tl.arange(0, C.QUERIES)
    line = ((token - slab) * C.KV_HEADS + head).to(tl.int64)
    pitch = score_pitch(score_columns, C.SLAB * C.KV_HEADS)
    edge_pitch = edge_columns // (C.SLAB * C.KV_HEADS)
    live = token < stop
    for start in range(split * C.BLOCKS, wanted + 1, C.SPLITS * C.BLOCKS):
        page = tl.load(pages + start * C.RATIO // C.SLOTS).to(tl.int64)
        at = ((page * C.KV_HEADS + head) * C.SLOTS + start * C.RATIO % C.SLOTS) * C.D
        keys = tl.load(
            pool + at + inside[:, None] * C.D + column[None, :],
            mask=(column < C.D)[None, :] & (of_step < C.RATIO)[:, None],
            other=0.0,
        )
        logits = tl.dot(keys, columns, input_precision="ieee")
        weights = tl.exp2(logits * (C.SCALE * 1.4426950408889634) - normaliser)  # type: ignore
        # [keys, queries]: softmax of each head, added over the heads of the group.
        heads = tl.sum(tl.reshape(weights, (C.BLOCKS * C.STEP, C.QUERIES, C.HEADS)), 2)
        place = start * C.RATIO + inside
        shown = ((place > 0) & (of_step < C.RATIO))[:, None] & (place[:, None] <= visible)
        heads = tl.where(shown, heads, 0.0)
        firsts = tl.where((of_step == 0)[:, None], heads, 0.0)
        best = _over_steps(heads, C)
        firsts = _over_steps(firsts, C)
        # A window overlaps two blocks: the first key of a block counts for the one before, too.
        after = tl.gather(firsts, following, 0)
        best = tl.where((block < C.BLOCKS - 1)[:, None], tl.maximum(best, after), best)
        mask = live[None, :] & (start + block < wanted)[:, None]
        tl.store(scores + line[None, :] * pitch + (start + block)[:, None], best, mask=mask)
        to = edges + line[None, :] * edge_pitch + start // C.BLOCKS + block[:, None] * 0
        tl.store(to, firsts, mask=live[None, :] & (block == 0)[:, None])


@triton.jit
def _places(C: Constants):
    """Block and key of a block for each row of a tile of keys.

    A thread of a matrix instruction has the rows g and g + 8 of 16: they are keys of one block, so
    that their maximum moves nothing between threads.
    """
    row = tl.arange(0, C.BLOCKS * C.STEP)
    block, step = row // C.STEP, row % C.STEP
    if (C.STEP >= 2) & (C.STEP <= 16) & (C.BLOCKS * C.STEP >= 16):
        # Row g and row g + 8 of 16 become keys 2 i and 2 i + 1 of one block.
        WITHIN: tl.constexpr = C.STEP // 2
        block = row // 16 * (8 // WITHIN) + row % 8 // WITHIN
        step = row % WITHIN * 2 + row // 8 % 2
    return block, step


@triton.jit
def _over_steps(values, C: Constants):
    """The maximum over the keys of every block, of values [keys, queries] that are not negative."""
    QUERIES: tl.constexpr = values.shape[1]
    if (C.STEP >= 2) & (C.STEP <= 16) & (C.BLOCKS * C.STEP >= 16):
        WITHIN: tl.constexpr = C.STEP // 2
        split = tl.reshape(values, (C.BLOCKS * C.STEP // 16, 2, 8 // WITHIN, WITHIN, QUERIES))
        best = tl.reshape(tl.max(tl.max(split, 1), 2), (C.BLOCKS, QUERIES))
    else:
        best = tl.max(tl.reshape(values, (C.BLOCKS, C.STEP, QUERIES)), 1)
    return best


@triton.jit
def score_pitch(columns, LINES: tl.constexpr):
    """Scores from one of LINES lines to the next in a workspace of so many columns: aligned."""
    return columns // LINES // 16 * 16


@triton.jit
def _tile(control, offsets, token_position, call_lengths, slots, slab, C: Constants):
    """First row, row after the last, slot of the sequence, position of the first row.

    No rows if the sequence is dense or there is no such tile.
    """
    end = tl.minimum(tl.load(control), slab + C.SLAB)
    sequences = tl.load(control + 1)
    sequence, first, stop = query_tile(offsets, sequences, slab, end, tl.program_id(0), C.QUERIES)
    found = stop > first
    dense = tl.load(call_lengths + sequence, mask=found, other=0) < C.DENSE_LEN
    stop = tl.where(dense, first, stop)
    slot = tl.load(slots + sequence, mask=found, other=0)
    position = tl.load(token_position + first, mask=found, other=0)
    return first, stop, slot, position


@triton.jit
def _normaliser(sums, first, stop, slab, head, row, C: Constants):
    """The log-sum-exp of all coarse keys; MASKED if none is visible, and in rows of no head."""
    token = first + row // C.HEADS
    mask = (token < stop) & (row % C.HEADS < C.GROUP)
    at = ((token - slab) * C.KV_HEADS + head) * C.GROUP + row % C.HEADS
    split = tl.arange(0, C.SPLITS)
    parts = tl.load(
        sums + at[:, None] * C.SPLITS + split[None, :], mask=mask[:, None], other=MASKED
    )
    top = tl.max(parts, 1)
    return top + tl.log2(tl.sum(tl.exp2(parts - top[:, None]), 1))  # type: ignore
