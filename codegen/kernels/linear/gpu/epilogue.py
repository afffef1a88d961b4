"""Device functions that all linear kernels share: rows of the weight, and the epilogue."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.constants import RowConstants
from sala_compile.codegen.kernels.linear.gpu.split_norm import store_scaled
from sala_compile.codegen.kernels.triton.values import silu


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
def epilogue(total, up, bias, residual, row, column, live, C):
    """SCALE * act(total + bias) + residual; zeros from COLUMNS on.

    `row` and `column` are two-dimensional and span the tile, in either order; C is that of tiles or
    of few rows.
    """
    inside = column < C.COLUMNS
    if C.BIAS:
        at = bias + weight_row(column, C.SWIGLU)
        total += tl.load(at, mask=inside, other=0.0)
        if C.SWIGLU:
            up += tl.load(at + 16, mask=inside, other=0.0)
    if C.SWIGLU:
        total = silu(total) * up
    total = total * C.SCALE
    if C.RESIDUAL_PITCH:
        at = residual + row.to(tl.int64) * C.RESIDUAL_PITCH + C.RESIDUAL_START + column
        total += tl.load(at, mask=inside & (row < live), other=0.0)
    return tl.where(inside, total, 0.0)


@triton.jit
def finish(total, up, bias, residual, y, row, column, live, C):
    """y[row, column] = epilogue; zeros from COLUMNS to WIDTH."""
    total = epilogue(total, up, bias, residual, row, column, live, C)
    at = y + row.to(tl.int64) * C.Y_PITCH + column
    tl.store(at, total.to(y.dtype.element_ty), mask=(column < C.WIDTH) & (row < live))


@triton.jit
def finish_rows(total, bias, residual, norm, y, scaled, sums, first, live, C: RowConstants):
    """The epilogue of a tile [rows of the weight, rows of x], as `finish`.

    With SwiGLU half of the tile are gates. With SCALED also the parts of a norm after y.
    """
    WIDE: tl.constexpr = C.TILE_COLUMNS // 2 if C.SWIGLU else C.TILE_COLUMNS
    up = total
    if C.SWIGLU:
        # [32 rows of the weight are 16 of gate, then 16 of up]
        pairs = tl.reshape(total, (C.TILE_COLUMNS // 32, 2, 16, C.TILE_ROWS))
        total, up = tl.split(tl.permute(pairs, (0, 2, 3, 1)))
        total = tl.reshape(total, (WIDE, C.TILE_ROWS))
        up = tl.reshape(up, (WIDE, C.TILE_ROWS))
    column = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    row = first + tl.arange(0, C.TILE_ROWS)
    value = epilogue(total, up, bias, residual, row[None, :], column[:, None], live, C)
    cells = (column < C.Y_PITCH)[:, None] & (row < live)[None, :]
    to = y + row.to(tl.int64)[None, :] * C.Y_PITCH + column[:, None]
    tl.store(to, value.to(y.dtype.element_ty), mask=cells)
    if C.SCALED:
        tile = tl.program_id(1)
        store_scaled(value, norm, scaled, sums, row, column, live, tile, C)
