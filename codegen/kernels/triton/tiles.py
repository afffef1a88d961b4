"""Device functions that cut the new tokens of a step into tiles."""

import triton
import triton.language as tl


@triton.jit
def query_tile(offsets, sequences, begin, end, index, ROWS: tl.constexpr):
    """Tile `index` of the token rows begin .. end - 1, cut every ROWS rows and between sequences.

    Returns its sequence, its first row and the row after its last one; equal rows beyond the last
    tile. There are at most (end - begin) // ROWS + sequences tiles.
    """
    WIDTH: tl.constexpr = 64  # type: ignore
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
        after = before + tl.cumsum(tiles, 0)
        here = (index < after) & (index >= after - tiles)
        row = low + (index - after + tiles) * ROWS
        sequence += tl.sum(tl.where(here, candidate, 0), 0)
        first += tl.sum(tl.where(here, row, 0), 0)
        stop += tl.sum(tl.where(here, tl.minimum(row + ROWS, high), 0), 0)
        before += tl.sum(tiles, 0)
    return sequence, first, stop


@triton.jit
def segment_rows(offsets, history, sequences, index, SEGMENT: tl.constexpr):
    """First row of segment `index`, and the row after its last one; equal where there is none.

    A segment ends at a position that is a multiple of SEGMENT, or with the last new token of its
    sequence. Sequence i has the indices from offsets[i] // SEGMENT + 2 i on: at least as many as
    it has segments, with any history.
    """
    begun = index * 0
    for start in range(0, sequences, 64):
        candidate = start + tl.arange(0, 64)
        live = candidate < sequences
        first = tl.load(offsets + candidate, mask=live, other=0) // SEGMENT + 2 * candidate
        begun += tl.sum((live & (first <= index)).to(tl.int32), 0)
    sequence = begun - 1
    begin = tl.load(offsets + sequence)
    end = tl.load(offsets + sequence + 1)
    before = tl.load(history + sequence) % SEGMENT
    row = begin - before + (index - begin // SEGMENT - 2 * sequence) * SEGMENT
    return tl.minimum(tl.maximum(row, begin), end), tl.minimum(row + SEGMENT, end)


@triton.jit
def load_queries(q, pool, first, stop, head, C):
    """The queries of a tile [rows, COLUMNS], rounded to the element type of a pool of keys.

    Row r is head r % HEADS of the group, HEADS a power of two, of query r // HEADS; 0 if there
    is none. C has GROUP, D, Q_START, Q_PITCH, QUERIES, HEADS and COLUMNS.
    """
    row = tl.arange(0, C.QUERIES * C.HEADS)
    token, inside = first + row // C.HEADS, row % C.HEADS
    column = tl.arange(0, C.COLUMNS)
    mask = ((token < stop) & (inside < C.GROUP))[:, None] & (column < C.D)[None, :]
    at = token.to(tl.int64) * C.Q_PITCH + C.Q_START + (head * C.GROUP + inside) * C.D
    values = tl.load(q + at[:, None] + column[None, :], mask=mask, other=0.0)
    return values.to(pool.dtype.element_ty)
