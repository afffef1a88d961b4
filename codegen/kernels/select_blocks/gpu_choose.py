"""The Triton functions that choose blocks by their scores."""

import triton
import triton.language as tl

from codegen.kernels.select_blocks.gpu_score import score_pitch

MAGNITUDE = tl.constexpr(0x7FFFFFFF)
"""Clears the sign, which only a NaN can have: every list is complete, whatever the inputs."""


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
    WIDTH: tl.constexpr,
    LIST: tl.constexpr,
):
    """Write the list of a token: programs (tokens of the slab, kv heads).

    TILE blocks were scored together; the search takes WIDTH blocks at a time. LIST is a power of
    two that holds BUDGET entries.
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
    place = entry - INITIAL - CHOSEN
    tl.store(listed + entry, local + place, mask=(place >= 0) & (entry < BUDGET))
    if CHOSEN > 0:
        score_line = (tl.program_id(0) * KV_HEADS + head).to(tl.int64)
        ranks = scores + score_line * score_pitch(score_columns, SLAB * KV_HEADS)
        lacking = edges + score_line * (edge_columns // (SLAB * KV_HEADS)) + 1
        _complete(ranks, lacking, local, INITIAL, TILE, WIDTH)
        tl.debug_barrier()
        threshold = _threshold(ranks, local, CHOSEN, WIDTH)
        _list(ranks, listed + INITIAL, threshold, local, CHOSEN, WIDTH)


@triton.jit
def _complete(
    ranks, lacking, local, INITIAL: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr
):
    """In place, scores with the key at the edge of their tile, as integers: -1 for no candidate.

    Floats that are not negative order like their bits. The line is written to its aligned end.
    """
    for start in range(0, local, WIDTH):
        block = start + tl.arange(0, WIDTH)
        written = block < _aligned(local)
        score = tl.load(ranks + block, mask=written, other=0)
        ends = (block < local) & (block % TILE == TILE - 1)
        edge = tl.load(lacking + block // TILE, mask=ends, other=0)
        rank = tl.maximum(score & MAGNITUDE, edge & MAGNITUDE)
        competes = (block >= INITIAL) & (block < local)
        tl.store(ranks + block, tl.where(competes, rank, -1), mask=written)


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
def _list(
    ranks,
    listed,
    threshold,
    local,
    CHOSEN: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write the blocks above the threshold, and of those at it the first ones, ascending."""
    ties = CHOSEN - _count_above(ranks, threshold, local, WIDTH)
    place = local * 0
    for start in range(0, local, WIDTH):
        block = start + tl.arange(0, WIDTH)
        rank = tl.load(ranks + block, mask=block < _aligned(local), other=-1)
        equal = (rank == threshold).to(tl.int32)
        order = tl.cumsum(equal, 0)
        taken = (rank > threshold) | ((equal != 0) & (order <= ties))
        take = taken.to(tl.int32)
        tl.store(listed + place + tl.cumsum(take, 0) - 1, block, mask=taken)
        ties -= tl.sum(equal, 0)
        place += tl.sum(take, 0)
