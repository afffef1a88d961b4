"""The Triton functions that choose blocks by their scores."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.select_blocks.gpu.score_blocks import score_pitch

MAGNITUDE = tl.constexpr(0x7FFFFFFF)
"""Clears the sign, which only a NaN can have: every list is complete, for any inputs."""


@triton.jit
def list_blocks(
    control,
    token_sequence,
    token_position,
    call_lengths,
    scores,
    edges,
    blocks,
    counts,
    score_columns,
    edge_columns,
    slab,
    KV_HEADS: tl.constexpr,
    DENSE_LEN: tl.constexpr,
    BLOCK: tl.constexpr,
    BUDGET: tl.constexpr,
    INITIAL: tl.constexpr,
    WINDOW: tl.constexpr,
    CHOSEN: tl.constexpr,
    SLAB: tl.constexpr,
    TILE: tl.constexpr,
    NARROW: tl.constexpr,
    MIDDLE: tl.constexpr,
    WIDTH: tl.constexpr,
    LIST: tl.constexpr,
):
    """Write the list of a token: programs (tokens of the slab, kv heads).

    TILE blocks were scored together. Up to 2 NARROW, MIDDLE or WIDTH candidates stay in
    registers during the search, more are read again, WIDTH at a time. LIST is a power of two that
    holds BUDGET entries.
    """
    token = slab + tl.program_id(0)
    head = tl.program_id(1)
    if token >= tl.load(control):
        return
    own = tl.load(token_position + token) // BLOCK
    dense = tl.load(call_lengths + tl.load(token_sequence + token)) < DENSE_LEN
    line = token.to(tl.int64) * KV_HEADS + head
    listed = blocks + line * BUDGET
    entry = tl.arange(0, LIST)
    if dense | (own < BUDGET):
        used = tl.where(dense, 0, own + 1)
        tl.store(listed + entry, tl.where(entry < used, entry, -1), mask=entry < BUDGET)
        tl.store(counts + line, tl.where(dense, -1, used))
        return
    tl.store(counts + line, BUDGET)
    local = own - WINDOW
    tl.store(listed + entry, entry, mask=entry < INITIAL)
    # [initial blocks, chosen ones ascending, local window]
    place = entry - INITIAL - CHOSEN
    tl.store(listed + entry, local + place, mask=(place >= 0) & (entry < BUDGET))
    if CHOSEN > 0:
        score_line = (tl.program_id(0) * KV_HEADS + head).to(tl.int64)
        ranks = scores + score_line * score_pitch(score_columns, SLAB * KV_HEADS)
        lacking = edges + score_line * (edge_columns // (SLAB * KV_HEADS)) + 1
        if (local <= 2 * NARROW) & (NARROW < WIDTH):
            _choose_held(ranks, lacking, listed + INITIAL, local, INITIAL, CHOSEN, TILE, NARROW)
        elif (local <= 2 * MIDDLE) & (MIDDLE < WIDTH):
            _choose_held(ranks, lacking, listed + INITIAL, local, INITIAL, CHOSEN, TILE, MIDDLE)
        elif local <= 2 * WIDTH:
            _choose_held(ranks, lacking, listed + INITIAL, local, INITIAL, CHOSEN, TILE, WIDTH)
        else:
            _complete(ranks, lacking, local, INITIAL, TILE, WIDTH)
            # Other threads read the ranks that these wrote.
            tl.debug_barrier()
            threshold = _threshold(ranks, local, CHOSEN, WIDTH)
            _list_all(ranks, listed + INITIAL, threshold, local, CHOSEN, WIDTH)


@triton.jit
def _choose_held(
    ranks,
    lacking,
    listed,
    local,
    INITIAL: tl.constexpr,
    CHOSEN: tl.constexpr,
    TILE: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write the chosen blocks of at most 2 WIDTH candidates, whose ranks stay in registers."""
    low = _ranks(ranks, lacking, 0, local, INITIAL, TILE, WIDTH)  # type: ignore
    high = _ranks(ranks, lacking, WIDTH, local, INITIAL, TILE, WIDTH)
    threshold, above = _held_threshold(low, high, local, CHOSEN)
    more, equal = _list(low, listed, 0, threshold, CHOSEN - above)
    if local > WIDTH:
        after = listed + more + tl.minimum(equal, CHOSEN - above)
        _list(high, after, WIDTH, threshold, tl.maximum(CHOSEN - above - equal, 0))


@triton.jit
def _ranks(
    ranks, lacking, start, local, INITIAL: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr
):
    """Scores from block `start` on with the key at the edge of their tile, as integers.

    Floats that are not negative order like their bits. -1 for blocks that are not candidates.
    """
    block = start + tl.arange(0, WIDTH)
    score = tl.load(ranks + block, mask=block < _aligned(local), other=0)
    ends = (block < local) & (block % TILE == TILE - 1)
    edge = tl.load(lacking + block // TILE, mask=ends, other=0)
    rank = tl.maximum(score & MAGNITUDE, edge & MAGNITUDE)
    return tl.where((block >= INITIAL) & (block < local), rank, -1)


@triton.jit
def _complete(
    ranks, lacking, local, INITIAL: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr
):
    """The ranks of all blocks, in place. The line is written to its aligned end."""
    for start in range(0, local, WIDTH):
        block = start + tl.arange(0, WIDTH)
        rank = _ranks(ranks, lacking, start, local, INITIAL, TILE, WIDTH)
        tl.store(ranks + block, rank, mask=block < _aligned(local))


@triton.jit
def _aligned(count):
    """The end of so many scores, rounded up so that accesses stay wide."""
    return (count + 15) // 16 * 16


@triton.jit
def _count_above(ranks, floor, local, WIDTH: tl.constexpr):
    """How many blocks have a higher rank."""
    hits = tl.zeros((WIDTH,), tl.int32)
    for start in range(0, local, WIDTH):
        block = start + tl.arange(0, WIDTH)
        rank = tl.load(ranks + block, mask=block < _aligned(local), other=-1)
        hits += (rank > floor).to(tl.int32)
    return tl.sum(hits, 0)


@triton.jit
def _threshold(ranks, local, CHOSEN: tl.constexpr, WIDTH: tl.constexpr):
    """A rank that CHOSEN blocks reach: exactly so many, or it is the largest that enough reach."""
    found = local * 0
    reached = local * 0
    bit = local * 0 + (1 << 30)
    while (bit > 0) & (reached != CHOSEN):
        reach = _count_above(ranks, found + bit - 1, local, WIDTH)
        found = tl.where(reach >= CHOSEN, found + bit, found)
        reached = tl.where(reach >= CHOSEN, reach, reached)
        bit = bit // 2
    return found


@triton.jit
def _held_threshold(low, high, local, CHOSEN: tl.constexpr):
    """The same as `_threshold` for ranks in registers; and how many are above it."""
    found = local * 0
    reached = local * 0
    bit = local * 0 + (1 << 30)
    while (bit > 0) & (reached != CHOSEN):
        reach = _held_above(low, high, found + bit - 1)
        found = tl.where(reach >= CHOSEN, found + bit, found)
        reached = tl.where(reach >= CHOSEN, reach, reached)
        bit = bit // 2
    return found, _held_above(low, high, found)


@triton.jit
def _held_above(low, high, floor):
    return tl.sum((low > floor).to(tl.int32) + (high > floor).to(tl.int32), 0)


@triton.jit
def _list(rank, listed, start, threshold, ties):
    """Write the blocks above the threshold, and the first `ties` of those at it, ascending.

    Returns how many were above it, and how many at it.
    """
    WIDTH: tl.constexpr = rank.shape[0]
    block = start + tl.arange(0, WIDTH)
    # Those above count 1, those at it 65536: one scan for both.
    kind = (rank > threshold).to(tl.int32) + ((rank == threshold).to(tl.int32) << 16)
    order = tl.cumsum(kind, 0)
    place = (order & 0xFFFF) + tl.minimum(order >> 16, ties) - 1
    taken = kind * (order >> 16 <= tl.where(kind == 1, WIDTH, ties)).to(tl.int32)
    tl.store(listed + place, block, mask=taken != 0)
    total = tl.sum(kind, 0)
    return total & 0xFFFF, total >> 16  # type: ignore


@triton.jit
def _list_all(
    ranks,
    listed,
    threshold,
    local,
    CHOSEN: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write the chosen blocks of a line that is read WIDTH ranks at a time."""
    ties = CHOSEN - _count_above(ranks, threshold, local, WIDTH)
    place = local * 0
    for start in range(0, local, WIDTH):
        block = start + tl.arange(0, WIDTH)
        rank = tl.load(ranks + block, mask=block < _aligned(local), other=-1)
        above, equal = _list(rank, listed + place, start, threshold, ties)
        place += above + tl.minimum(equal, tl.maximum(ties, 0))
        ties = tl.maximum(ties - equal, 0)
