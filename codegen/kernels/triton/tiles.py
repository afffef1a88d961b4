# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
"""Device functions that cut the new tokens of a step into tiles."""

import triton
import triton.language as tl


@triton.jit
def query_tile(offsets, sequences, begin, end, index, ROWS: tl.constexpr):
    """Tile `index` of the token rows begin .. end - 1, cut every ROWS rows and between sequences.

    Returns its sequence, its first row and the row behind its last one; equal rows beyond the last
    tile. There are at most (end - begin) // ROWS + sequences tiles.
    """
    WIDTH: tl.constexpr = 64
    before = index * 0
    sequence = index * 0
    first = index * 0
    stop = index * 0
    for start in range(0, sequences, WIDTH):
        candidate = start + tl.arange(0, WIDTH)
        live = candidate < sequences
        low = tl.maximum(tl.load(offsets + candidate, mask=live, other=0), begin)
        high = tl.minimum(tl.load(offsets + candidate + 1, mask=live, other=0), end)
        tiles = (tl.maximum(high - low, 0) + ROWS - 1) // ROWS
        behind = before + tl.cumsum(tiles, 0)
        here = (index < behind) & (index >= behind - tiles)
        row = low + (index - behind + tiles) * ROWS
        sequence += tl.sum(tl.where(here, candidate, 0), 0)
        first += tl.sum(tl.where(here, row, 0), 0)
        stop += tl.sum(tl.where(here, tl.minimum(row + ROWS, high), 0), 0)
        before += tl.sum(tiles, 0)
    return sequence, first, stop
