"""The Triton function of linears of few rows: 8 of them against tiles of the weight.

The weight is the left factor, so that its rows fill those of the matrix instruction. Products are
of three dimensions: the first one is the part of the depth, one for each warp. The sums of the
parts are added at the end, in an order that nothing but the tiles decides.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.constants import RowConstants
from sala_compile.codegen.kernels.linear.gpu.epilogue import clamped_row, finish_rows
from sala_compile.codegen.kernels.linear.gpu.split_norm import inverse_norms


@triton.jit
def multiply_rows(
    control, x, weight, squares, bias, residual, norm, y, scaled, sums, C: RowConstants
):
    """Programs (tiles of rows, tiles of columns); each of PARTS parts has PART values of K.

    With SwiGLU a tile takes as many rows of the weight, half of them gates. NORM and SCALED as in
    split_norm.py.
    """
    first = tl.program_id(0) * C.TILE_ROWS
    live = tl.load(control + C.LIVE)
    if first >= live:
        return
    EVEN: tl.constexpr = C.DEPTH == C.PART * C.PARTS
    column = tl.program_id(1) * C.TILE_COLUMNS + tl.arange(0, C.TILE_COLUMNS)
    row = tl.arange(0, C.TILE_ROWS)
    part = tl.arange(0, C.PARTS)
    k = part[:, None] * C.PART + tl.arange(0, C.STEP)[None, :]
    lines = x + first.to(tl.int64) * C.X_PITCH + C.X_START
    right = lines + row[None, None, :] * C.X_PITCH + k[:, :, None]
    held = (row < live - first)[None, None, :]
    line = clamped_row(column, False, C.WEIGHT_ROWS)  # type: ignore
    left = weight + line[None, :, None] * C.WEIGHT_PITCH + k[:, None, :]
    # [part of the depth, row of the weight, row of x]
    total = tl.zeros((C.PARTS, C.TILE_COLUMNS, C.TILE_ROWS), tl.float32)
    for start in range(0, C.PART, C.STEP):
        if EVEN:
            a = tl.load(left + start)
            b = tl.load(right + start, mask=held, other=0.0)
        else:
            inside = k + start < tl.minimum(part * C.PART + C.PART, C.DEPTH)[:, None]
            a = tl.load(left + start, mask=inside[:, None, :], other=0.0)
            b = tl.load(right + start, mask=inside[:, :, None] & held, other=0.0)
        total = tl.dot(a, b, total, input_precision=C.PRECISION)
    # The parts are added in a fixed tree: no bit depends on rows or programs.
    result = tl.sum(total, 0)
    if C.NORM:
        result *= inverse_norms(squares, first, live, C)[None, :]
    finish_rows(result, bias, residual, norm, y, scaled, sums, first, live, C)
