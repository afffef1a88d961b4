"""The Triton function of linears of many rows: tiles of the output, each with all of the depth."""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.constants import TileConstants
from sala_compile.codegen.kernels.linear.gpu.epilogue import clamped_row, finish


@triton.jit
def multiply_tiles(control, x, weight, bias, residual, y, C: TileConstants):
    """A program for each tile, in bands of BAND tiles of rows that go through all columns.

    WEIGHT_ROWS rows of the weight give COLUMNS outputs; WIDTH columns are written, from y on. With
    SwiGLU a tile has TILE_COLUMNS outputs, so two products of that many columns.
    """
    ACROSS: tl.constexpr = (C.WIDTH + C.TILE_COLUMNS - 1) // C.TILE_COLUMNS
    index = tl.program_id(0)
    live = tl.load(control + C.LIVE)
    down = tl.cdiv(live, C.TILE_ROWS)
    if index >= down * ACROSS:
        return
    # Programs of a band go down its rows first, then to the next columns.
    band = index // (C.BAND * ACROSS) * C.BAND
    height = tl.minimum(down - band, C.BAND)
    first = (band + index % (C.BAND * ACROSS) % height) * C.TILE_ROWS
    begin = index % (C.BAND * ACROSS) // height * C.TILE_COLUMNS
    column = begin + tl.arange(0, C.TILE_COLUMNS)
    k = tl.arange(0, C.STEP)
    row = tl.arange(0, C.TILE_ROWS)
    lines = x + first.to(tl.int64) * C.X_PITCH + C.X_START
    left = lines + tl.minimum(row, live - 1 - first)[:, None] * C.X_PITCH + k[None, :]
    line = clamped_row(column, C.SWIGLU, C.WEIGHT_ROWS)
    right = weight + line[:, None] * C.WEIGHT_PITCH + k[None, :]
    total = tl.zeros((C.TILE_ROWS, C.TILE_COLUMNS), tl.float32)
    up = total
    for start in range(0, C.DEPTH, C.STEP):
        if C.DEPTH % C.STEP == 0:
            a = tl.load(left + start)
            b = tl.load(right + start)
        else:
            inside = (k < C.DEPTH - start)[None, :]
            a = tl.load(left + start, mask=inside, other=0.0)
            b = tl.load(right + start, mask=inside, other=0.0)
        total = tl.dot(a, tl.trans(b), total, input_precision=C.PRECISION)
        if C.SWIGLU:
            # The rows of up are 16 below those of gate.
            if C.DEPTH % C.STEP == 0:
                b = tl.load(right + 16 * C.WEIGHT_PITCH + start)
            else:
                b = tl.load(right + 16 * C.WEIGHT_PITCH + start, mask=inside, other=0.0)  # pyright: ignore
            up = tl.dot(a, tl.trans(b), up, input_precision=C.PRECISION)
    line = (first + row)[:, None]
    if C.TILE_COLUMNS > 128:
        # Half of the tile at a time: all of the residual and all sums would not fit registers.
        halves = tl.reshape(total, (C.TILE_ROWS, 2, C.TILE_COLUMNS // 2))
        total, up = tl.split(tl.permute(halves, (0, 2, 1)))
        column = begin + tl.arange(0, C.TILE_COLUMNS // 2)
        finish(total, total, bias, residual, y, line, column[None, :], live, C)
        total = up
        column += C.TILE_COLUMNS // 2
    finish(total, up, bias, residual, y, line, column[None, :], live, C)
