"""The Triton functions of linears of few rows: 16 of them against tiles of the weight."""

import triton
import triton.language as tl

from codegen.kernels.linear.gpu_epilogue import clamped_row, finish, weight_row


@triton.jit
def multiply_rows(
    control,
    x,
    weight,
    bias,
    residual,
    y,
    partials,
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
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    SPLITS: tl.constexpr,
    PART: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
):
    """Programs (tiles of rows, tiles of columns, parts of PART values of the depth).

    The weight is the left factor, so that its rows fill the rows of the matrix instruction. With
    more than one part the sums of WEIGHT_ROWS products go to `partials`, without epilogue.
    """
    first = tl.program_id(0) * TILE_ROWS
    live = tl.load(control + LIVE)
    if first >= live:
        return
    column = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    k = tl.program_id(2) * PART + tl.arange(0, STEP)
    row = tl.arange(0, TILE_ROWS)
    FUSED: tl.constexpr = SWIGLU and SPLITS == 1
    EVEN: tl.constexpr = DEPTH == PART * SPLITS
    lines = x + first.to(tl.int64) * X_PITCH + X_START
    right = lines + tl.minimum(row, live - 1 - first)[:, None] * X_PITCH + k[None, :]
    line = clamped_row(column, FUSED, WEIGHT_ROWS)
    left = weight + line[:, None] * WEIGHT_PITCH + k[None, :]
    total = tl.zeros((TILE_COLUMNS, TILE_ROWS), tl.float32)
    up = total
    for start in range(0, PART, STEP):
        if EVEN:
            a = tl.load(left + start)
            b = tl.load(right + start)
        else:
            inside = (k + start < DEPTH)[None, :]
            a = tl.load(left + start, mask=inside, other=0.0)
            b = tl.load(right + start, mask=inside, other=0.0)
        total = tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
        if FUSED:
            # The rows of up stand 16 below those of gate.
            if EVEN:
                a = tl.load(left + 16 * WEIGHT_PITCH + start)
            else:
                a = tl.load(left + 16 * WEIGHT_PITCH + start, mask=inside, other=0.0)
            up = tl.dot(a, tl.trans(b), up, input_precision=PRECISION)
    if SPLITS > 1:
        store_partial(
            total, partials, first + row, column, live, WEIGHT_ROWS, SPLITS, tl.program_id(2)
        )
    else:
        finish(
            total,
            up,
            bias,
            residual,
            y,
            (first + row)[None, :],
            column[:, None],
            live,
            BIAS,
            SWIGLU,
            SCALE,
            COLUMNS,
            Y_PITCH,
            Y_PITCH,
            RESIDUAL_START,
            RESIDUAL_PITCH,
        )


@triton.jit
def store_partial(
    total, partials, row, column, live, WEIGHT_ROWS: tl.constexpr, SPLITS: tl.constexpr, split
):
    """Write the sums [columns, rows] of a part of the depth to partials [rows, SPLITS, columns]."""
    line = (row.to(tl.int64) * SPLITS + split)[None, :] * WEIGHT_ROWS
    live_cells = (row < live)[None, :] & (column < WEIGHT_ROWS)[:, None]
    tl.store(partials + line + column[:, None], total, mask=live_cells)


@triton.jit
def add_parts(
    control,
    partials,
    bias,
    residual,
    y,
    LIVE: tl.constexpr,
    WEIGHT_ROWS: tl.constexpr,
    BIAS: tl.constexpr,
    SWIGLU: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add the parts of the depth in order, then the epilogue; programs (rows, parts of a row)."""
    row = tl.program_id(0)
    live = tl.load(control + LIVE)
    if row >= live:
        return
    column = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    inside = column < COLUMNS
    at = partials + row.to(tl.int64) * (SPLITS * WEIGHT_ROWS) + weight_row(column, SWIGLU)
    total = tl.zeros((1, BLOCK), tl.float32)
    up = total
    for split in tl.static_range(SPLITS):  # type: ignore
        total += tl.load(at + split * WEIGHT_ROWS, mask=inside, other=0.0)
        if SWIGLU:
            up += tl.load(at + split * WEIGHT_ROWS + 16, mask=inside, other=0.0)
    finish(
        total,
        up,
        bias,
        residual,
        y,
        row + tl.zeros((1, 1), tl.int32),
        column,
        live,
        BIAS,
        SWIGLU,
        SCALE,
        COLUMNS,
        Y_PITCH,
        Y_PITCH,
        RESIDUAL_START,
        RESIDUAL_PITCH,
    )
