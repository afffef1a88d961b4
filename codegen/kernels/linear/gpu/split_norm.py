"""An RMS norm between two kernels of few rows, without a launch of its own.

    norm(h) = h / sqrt(mean(h^2) + eps) * w

The kernel that writes h also writes h * w, rounded as the norm is, and the sums of h^2 over its own
columns. The kernel that reads the norm multiplies by h * w, and its sums by the factor of the row,
which is one number: the sums of squares are added in order. No program waits for another.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.linear.gpu.constants import RowConstants
from sala_compile.codegen.kernels.triton.values import inverse_root, squared


@triton.jit
def inverse_norms(squares, first, live, C: RowConstants):
    """The factor of each row of a tile, from SQUARES sums over NORM values in all."""
    row = tl.arange(0, C.TILE_ROWS)
    WIDTH: tl.constexpr = triton.next_power_of_2(C.SQUARES)  # type: ignore
    place = tl.arange(0, WIDTH)
    PITCH: tl.constexpr = (C.SQUARES + 15) // 16 * 16
    at = squares + (first + row).to(tl.int64)[:, None] * PITCH + place[None, :]
    mask = (row < live - first)[:, None] & (place < C.SQUARES)[None, :]
    return inverse_root(tl.sum(tl.load(at, mask=mask, other=0.0), 1), C.NORM, C.EPS)


@triton.jit
def store_scaled(value, norm, scaled, sums, row, column, live, tile, C: RowConstants):
    """Write value [columns, rows] times `norm`, and its sums of squares as those of a tile.

    Values beyond COLUMNS are 0.
    """
    factor = tl.load(norm + column, mask=column < C.COLUMNS, other=0.0)
    place = row.to(tl.int64)
    cells = (column < C.Y_PITCH)[:, None] & (row < live)[None, :]
    to = scaled + place[None, :] * C.Y_PITCH + column[:, None]
    tl.store(to, (value * factor[:, None]).to(scaled.dtype.element_ty), mask=cells)
    tl.store(
        sums + place * ((C.TILES + 15) // 16 * 16) + tile,
        tl.sum(squared(value), 0),
        mask=row < live,
    )
