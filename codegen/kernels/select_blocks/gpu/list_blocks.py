"""The Triton functions that choose blocks by their scores."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.select_blocks.gpu.constants import Constants
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
    C: Constants,
):
    """Write the list of a token: programs (tokens of the slab, kv heads).

    BLOCKS blocks were scored together. Up to 2 NARROW, MIDDLE or WIDTH candidates stay in
    registers during the search, more are read again, WIDTH at a time. LIST is a power of two that
    holds BUDGET entries. Without TIES no two ranks are alike: for counts of the code alone.
    """
    token = slab + tl.program_id(0)
    head = tl.program_id(1)
    if token >= tl.load(control):
        return
    own = tl.load(token_position + token) // C.BLOCK
    dense = tl.load(call_lengths + tl.load(token_sequence + token)) < C.DENSE_LEN
    line = token.to(tl.int64) * C.KV_HEADS + head
    listed = blocks + line * C.BUDGET
    entry = tl.arange(0, C.LIST)
    if dense | (own < C.BUDGET):
        used = tl.where(dense, 0, own + 1)
        tl.store(listed + entry, tl.where(entry < used, entry, -1), mask=entry < C.BUDGET)
        tl.store(counts + line, tl.where(dense, -1, used))
        return
    tl.store(counts + line, C.BUDGET)
    local = own - C.WINDOW
    tl.store(listed + entry, entry, mask=entry < C.INITIAL)
    # [initial blocks, chosen ones ascending, local window]
    place = entry - C.INITIAL - C.CHOSEN
    tl.store(listed + entry, local + place, mask=(place >= 0) & (entry < C.BUDGET))
    if C.CHOSEN > 0:
        score_line = (tl.program_id(0) * C.KV_HEADS + head).to(tl.int64)
        ranks = scores + score_line * score_pitch(score_columns, C.SLAB * C.KV_HEADS)
        lacking = edges + score_line * (edge_columns // (C.SLAB * C.KV_HEADS)) + 1
        if (local <= 2 * C.NARROW) & (C.NARROW < C.WIDTH):
            _choose_held(ranks, lacking, listed + C.INITIAL, local, C.NARROW, C)
        elif (local <= 2 * C.MIDDLE) & (C.MIDDLE < C.WIDTH):
            _choose_held(ranks, lacking, listed + C.INITIAL, local, C.MIDDLE, C)
        elif local <= 2 * C.WIDTH:
            _choose_held(ranks, lacking, listed + C.INITIAL, local, C.WIDTH, C)
        else:
            _complete(ranks, lacking, local, C)
            # Other threads read the ranks that these wrote.
            tl.debug_barrier()
            threshold = _threshold(ranks, local, C)
            _list_all(ranks, listed + C.INITIAL, threshold, local, C)


@triton.jit
def _choose_held(ranks, lacking, listed, local, WIDTH: tl.constexpr, C: Constants):
    """Write the chosen blocks of at most 2 WIDTH candidates, whose ranks stay in registers."""
    low = _ranks(ranks, lacking, 0, local, WIDTH, C)  # type: ignore
    high = _ranks(ranks, lacking, WIDTH, local, WIDTH, C)
    threshold, reached = _held_threshold(low, high, local, C)
    if (reached == C.CHOSEN) | (not C.TIES):
        more = _list_reaching(low, listed, 0, threshold)
        if local > WIDTH:
            _list_reaching(high, listed + more, WIDTH, threshold)
    else:
        above = _held_above(low, high, threshold)
        more, equal = _list(low, listed, 0, threshold, C.CHOSEN - above)
        if local > WIDTH:
            after = listed + more + tl.minimum(equal, C.CHOSEN - above)
            _list(high, after, WIDTH, threshold, tl.maximum(C.CHOSEN - above - equal, 0))


@triton.jit
def _ranks(ranks, lacking, start, local, WIDTH: tl.constexpr, C: Constants):
    """Scores from block `start` on with the key at the edge of their tile, as integers.

    Floats that are not negative order like their bits. -1 for blocks that are not candidates.
    """
    block = start + tl.arange(0, WIDTH)
    score = tl.load(ranks + block, mask=block < _aligned(local), other=0)
    ends = (block < local) & (block % C.BLOCKS == C.BLOCKS - 1)
    edge = tl.load(lacking + block // C.BLOCKS, mask=ends, other=0)
    rank = tl.maximum(score & MAGNITUDE, edge & MAGNITUDE)
    return tl.where((block >= C.INITIAL) & (block < local), rank, -1)


@triton.jit
def _complete(ranks, lacking, local, C: Constants):
    """The ranks of all blocks, in place. The line is written to its aligned end."""
    for start in range(0, local, C.WIDTH):
        block = start + tl.arange(0, C.WIDTH)
        rank = _ranks(ranks, lacking, start, local, C.WIDTH, C)
        tl.store(ranks + block, rank, mask=block < _aligned(local))


@triton.jit
def _aligned(count):
    """The end of so many scores, rounded up so that accesses stay wide."""
    return (count + 15) // 16 * 16


@triton.jit
def _exceeds(rank, floor):
    """1 where a rank is higher, else 0; -1 <= rank, floor < 2 ** 31.

    A shifted sign takes fewer instructions than a comparison whose result is counted, and a scan of
    it stays in the layout of ranks.
    """
    return -((floor - rank) >> 31)


@triton.jit
def _count_above(ranks, floor, local, C: Constants):
    """How many blocks have a higher rank."""
    hits = tl.zeros((C.WIDTH,), tl.int32)
    for start in range(0, local, C.WIDTH):
        block = start + tl.arange(0, C.WIDTH)
        rank = tl.load(ranks + block, mask=block < _aligned(local), other=-1)
        hits += _exceeds(rank, floor)
    return tl.sum(hits, 0)


@triton.jit
def _threshold(ranks, local, C: Constants):
    """A rank that CHOSEN blocks reach: exactly so many, or it is the largest that enough reach."""
    found = local * 0
    reached = local * 0
    bit = local * 0 + (1 << 30)
    while (bit > 0) & (reached != C.CHOSEN):
        reach = _count_above(ranks, found + bit - 1, local, C)
        found = tl.where(reach >= C.CHOSEN, found + bit, found)
        reached = tl.where(reach >= C.CHOSEN, reach, reached)
        bit = bit // 2
    return found


@triton.jit
def _held_threshold(low, high, local, C: Constants):
    """The same as `_threshold` for ranks in registers; and how many reach it if those are exact."""
    found = local * 0
    reached = local * 0
    bit = local * 0 + (1 << 30)
    while (bit > 0) & (reached != C.CHOSEN):
        reach = _held_above(low, high, found + bit - 1)
        found = tl.where(reach >= C.CHOSEN, found + bit, found)
        reached = tl.where(reach >= C.CHOSEN, reach, reached)
        bit = bit // 2
    return found, reached


@triton.jit
def _held_above(low, high, floor):
    return tl.sum(_exceeds(low, floor) + _exceeds(high, floor), 0)


@triton.jit
def _list_reaching(rank, listed, start, threshold):
    """Write the blocks that reach the threshold, ascending; returns how many they are."""
    WIDTH: tl.constexpr = rank.shape[0]
    reaches = _exceeds(rank, threshold - 1)
    order = tl.cumsum(reaches, 0)
    tl.store(listed + order - 1, start + tl.arange(0, WIDTH), mask=reaches != 0)
    return tl.sum(reaches, 0)


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
def _list_all(ranks, listed, threshold, local, C: Constants):
    """Write the chosen blocks of a line that is read WIDTH ranks at a time."""
    ties = C.CHOSEN - _count_above(ranks, threshold, local, C)
    place = local * 0
    for start in range(0, local, C.WIDTH):
        block = start + tl.arange(0, C.WIDTH)
        rank = tl.load(ranks + block, mask=block < _aligned(local), other=-1)
        above, equal = _list(rank, listed + place, start, threshold, ties)
        place += above + tl.minimum(equal, tl.maximum(ties, 0))
        ties = tl.maximum(ties - equal, 0)
