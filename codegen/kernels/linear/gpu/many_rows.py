"""The Triton function of linears of many rows: tiles of the output, each with all of the depth."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.epilogue import clamped_row, finish


@triton.jit
def multiply_tiles(
    control,
    x,
    weight,
    bias,
    residual,
    y,
    LIVE: tl.constexpr,
    DEPTH: tl.constexpr,
    X_START: tl.constexpr,
    X_PITCH: tl.constexpr,
    WEIGHT_ROWS: tl.constexpr,
    WEIGHT_PITCH: tl.constexpr,
    BIAS: tl.constexpr,
    SWIGLU: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    BAND: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """A program for each tile, in bands of BAND tiles of rows that go through all columns.

    WEIGHT_ROWS rows of the weight give COLUMNS outputs; WIDTH columns are written, from y on. With
    SwiGLU a tile has TILE_COLUMNS outputs, so two products of that many columns.
    """
    ACROSS: tl.constexpr = (WIDTH + TILE_COLUMNS - 1) // TILE_COLUMNS
    index = tl.program_id(0)
    live = tl.load(control + LIVE)
    down = tl.cdiv(live, TILE_ROWS)
    if index >= down * ACROSS:
        return
    # Programs of a band go down its rows first, then to the next columns.
    band = index // (BAND * ACROSS) * BAND
    height = tl.minimum(down - band, BAND)
    first = (band + index % (BAND * ACROSS) % height) * TILE_ROWS
    begin = index % (BAND * ACROSS) // height * TILE_COLUMNS
    column = begin + tl.arange(0, TILE_COLUMNS)
    k = tl.arange(0, STEP)
    row = tl.arange(0, TILE_ROWS)
    lines = x + first.to(tl.int64) * X_PITCH + X_START
    left = lines + tl.minimum(row, live - 1 - first)[:, None] * X_PITCH + k[None, :]
    line = clamped_row(column, SWIGLU, WEIGHT_ROWS)
    right = weight + line[:, None] * WEIGHT_PITCH + k[None, :]
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    up = total
    for start in range(0, DEPTH, STEP):
        if DEPTH % STEP == 0:
            a = tl.load(left + start)
            b = tl.load(right + start)
        else:
            inside = (k < DEPTH - start)[None, :]
            a = tl.load(left + start, mask=inside, other=0.0)
            b = tl.load(right + start, mask=inside, other=0.0)
        total = tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
        if SWIGLU:
            # The rows of up are 16 below those of gate.
            if DEPTH % STEP == 0:
                b = tl.load(right + 16 * WEIGHT_PITCH + start)
            else:
                b = tl.load(right + 16 * WEIGHT_PITCH + start, mask=inside, other=0.0)  # pyright: ignore
            up = tl.dot(a, tl.trans(b), up, input_precision=PRECISION)
    line = (first + row)[:, None]
    if TILE_COLUMNS > 128:
        # Half of the tile at a time: all of the residual and all sums would not fit registers.
        halves = tl.reshape(total, (TILE_ROWS, 2, TILE_COLUMNS // 2))
        total, up = tl.split(tl.permute(halves, (0, 2, 1)))
        column = begin + tl.arange(0, TILE_COLUMNS // 2)
        finish(
            total,
            total,
            bias,
            residual,
            y,
            line,
            column[None, :],
            live,
            BIAS,
            SWIGLU,
            SCALE,
            COLUMNS,
            WIDTH,
            Y_PITCH,
            RESIDUAL_START,
            RESIDUAL_PITCH,
        )
        total = up
        column += TILE_COLUMNS // 2
    finish(
        total,
        up,
        bias,
        residual,
        y,
        line,
        column[None, :],
        live,
        BIAS,
        SWIGLU,
        SCALE,
        COLUMNS,
        WIDTH,
        Y_PITCH,
        RESIDUAL_START,
        RESIDUAL_PITCH,
    )
