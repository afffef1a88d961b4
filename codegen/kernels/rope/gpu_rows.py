"""The Triton function of the rotation."""

import triton
import triton.language as tl


@triton.jit
def rotate_heads(
    control,
    x,
    table,
    y,
    COLUMNS: tl.constexpr,
    HEAD: tl.constexpr,
    HALF: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    TABLE_PITCH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Rotate the first 2 * HALF dimensions of HEADS heads of a row, copy the others.

    Programs (tokens, parts of a row); BLOCK holds HALF values and what is copied of a head.
    """
    row = tl.program_id(0)
    if row >= tl.load(control):
        return
    at = row.to(tl.int64)
    lane = tl.arange(0, BLOCK)[None, :]
    first = (tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]) * HEAD
    live = (lane < HALF) & (first < COLUMNS)
    cos = tl.load(table + at * TABLE_PITCH + lane, mask=lane < HALF, other=0.0)
    sin = tl.load(table + at * TABLE_PITCH + HALF + lane, mask=lane < HALF, other=0.0)
    source = x + at * X_PITCH + X_START + first + lane
    low = tl.load(source, mask=live, other=0.0).to(tl.float32)
    high = tl.load(source + HALF, mask=live, other=0.0).to(tl.float32)
    to = y + at * Y_PITCH
    kind = y.dtype.element_ty
    tl.store(to + first + lane, (low * cos - high * sin).to(kind), mask=live)
    tl.store(to + first + HALF + lane, (high * cos + low * sin).to(kind), mask=live)
    if 2 * HALF < HEAD:
        copied = (2 * HALF + lane < HEAD) & (first < COLUMNS)
        rest = tl.load(source + 2 * HALF, mask=copied, other=0.0).to(tl.float32)
        tl.store(to + first + 2 * HALF + lane, rest.to(kind), mask=copied)
    if COLUMNS < Y_PITCH:
        padding = COLUMNS + tl.arange(0, 16)
        inside = padding < tl.where(tl.program_id(1) == 0, Y_PITCH, 0)
        tl.store(to + padding, tl.zeros((16,), kind), mask=inside)
