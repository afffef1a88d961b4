"""The Triton function of linears of few rows: 8 of them against tiles of the weight.

The weight is the left factor, so that its rows fill those of the matrix instruction. Products are
of three dimensions: the first one is the part of the depth, one for each warp. The sums of the
parts are added at the end, in an order that nothing but the tiles decides.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.epilogue import clamped_row, finish_rows
from sala_compile.codegen.kernels.linear.gpu.split_norm import inverse_norms


@triton.jit
def multiply_rows(
    control,
    x,
    weight,
    squares,
    bias,
    residual,
    norm,
    y,
    scaled,
    sums,
    LIVE: tl.constexpr,
    DEPTH: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    WEIGHT_ROWS: tl.constexpr,
    WEIGHT_PITCH: tl.constexpr,
    NORM: tl.constexpr,
    SQUARES: tl.constexpr,
    EPS: tl.constexpr,
    BIAS: tl.constexpr,
    SWIGLU: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
    SCALED: tl.constexpr,
    TILES: tl.constexpr,
    PRECISION: tl.constexpr,
    PARTS: tl.constexpr,
    PART: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Programs (tiles of rows, tiles of columns); each of PARTS parts has PART values of K.

    With SwiGLU a tile takes as many rows of the weight, half of them gates. NORM and SCALED as in
    split_norm.py.
    """
    first = tl.program_id(0) * TILE_ROWS
    live = tl.load(control + LIVE)
    if first >= live:
        return
    EVEN: tl.constexpr = DEPTH == PART * PARTS
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    row = tl.arange(0, TILE_ROWS)
    part = tl.arange(0, PARTS)
    k = part[:, None] * PART + tl.arange(0, STEP)[None, :]
    lines = x + first.to(tl.int64) * X_PITCH + X_START
    right = lines + row[None, None, :] * X_PITCH + k[:, :, None]
    held = (row < live - first)[None, None, :]
    line = clamped_row(column, False, WEIGHT_ROWS)  # type: ignore
    left = weight + line[None, :, None] * WEIGHT_PITCH + k[:, None, :]
    # [part of the depth, row of the weight, row of x]
    total = tl.zeros((PARTS, TILE_COLUMNS, TILE_ROWS), tl.float32)
    for start in range(0, PART, STEP):
        if EVEN:
            a = tl.load(left + start)
            b = tl.load(right + start, mask=held, other=0.0)
        else:
            inside = k + start < tl.minimum(part * PART + PART, DEPTH)[:, None]
            a = tl.load(left + start, mask=inside[:, None, :], other=0.0)
            b = tl.load(right + start, mask=inside[:, :, None] & held, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    # The parts are added in a fixed tree: no bit depends on rows or programs.
    result = tl.sum(total, 0)
    if NORM:
        result *= inverse_norms(squares, first, live, TILE_ROWS, SQUARES, NORM, EPS)[None, :]
    finish_rows(
        result,
        bias,
        residual,
        norm,
        y,
        scaled,
        sums,
        first,
        live,
        BIAS,
        SWIGLU,
        SCALE,
        COLUMNS,
        Y_PITCH,
        RESIDUAL_START,
        RESIDUAL_PITCH,
        SCALED,
        TILES,
        TILE_ROWS,
        TILE_COLUMNS,
    )
