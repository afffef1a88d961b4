"""Device functions that all linear kernels share: rows of the weight, and the epilogue."""

import triton
import triton.language as tl

from codegen.kernels.triton.values import silu


@triton.jit
def weight_row(column, SWIGLU: tl.constexpr):
    """The row of the weight for an output: with SwiGLU that of the gate, 16 before that of up."""
    row = column
    if SWIGLU:
        row = column // 16 * 32 + column % 16
    return row


@triton.jit
def clamped_row(column, SWIGLU: tl.constexpr, WEIGHT_ROWS: tl.constexpr):
    """The row of the weight for an output, int64; that of another one where there is none."""
    last = WEIGHT_ROWS - 1
    if SWIGLU:
        last = WEIGHT_ROWS - 17
    return tl.minimum(weight_row(column, SWIGLU), last).to(tl.int64)


@triton.jit
def finish(
    total,
    up,
    bias,
    residual,
    y,
    row,
    column,
    live,
    BIAS: tl.constexpr,
    SWIGLU: tl.constexpr,
    SCALE: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    Y_PITCH: tl.constexpr,
    RESIDUAL_START: tl.constexpr,
    RESIDUAL_PITCH: tl.constexpr,
):
    """y[row, column] = SCALE * act(total + bias) + residual; zeros from COLUMNS to WIDTH.

    `row` and `column` are two-dimensional and span the tile, in either order.
    """
    inside = column < COLUMNS
    if BIAS:
        at = bias + weight_row(column, SWIGLU)
        total += tl.load(at, mask=inside, other=0.0)
        if SWIGLU:
            up += tl.load(at + 16, mask=inside, other=0.0)
    if SWIGLU:
        total = silu(total) * up
    total = total * SCALE
    line = row.to(tl.int64)
    if RESIDUAL_PITCH:
        at = residual + line * RESIDUAL_PITCH + RESIDUAL_START + column
        total += tl.load(at, mask=inside & (row < live), other=0.0)
    total = tl.where(inside, total, 0.0).to(y.dtype.element_ty)
    tl.store(y + line * Y_PITCH + column, total, mask=(column < WIDTH) & (row < live))
