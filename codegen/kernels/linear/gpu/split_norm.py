"""An RMS norm between two kernels of few rows, without a launch of its own.

    norm(h) = h / sqrt(mean(h^2) + eps) * w

The kernel that writes h also writes h * w, rounded as the norm is, and the sums of h^2 over its own
columns. The kernel that reads the norm multiplies by h * w, and its sums by the factor of the row,
which is one number: the sums of squares are added in order. No program waits for another.
"""

import triton
import triton.language as tl

from sala_compile.codegen.kernels.triton.values import inverse_root, squared


@triton.jit
def inverse_norms(
    squares,
    first,
    live,
    ROWS: tl.constexpr,
    SQUARES: tl.constexpr,
    NORM: tl.constexpr,
    EPS: tl.constexpr,
):
    """The factor of each of ROWS rows, from SQUARES sums over NORM values in all."""
    row = tl.arange(0, ROWS)
    WIDTH: tl.constexpr = triton.next_power_of_2(SQUARES)  # type: ignore
    place = tl.arange(0, WIDTH)
    PITCH: tl.constexpr = (SQUARES + 15) // 16 * 16
    at = squares + (first + row).to(tl.int64)[:, None] * PITCH + place[None, :]
    mask = (row < live - first)[:, None] & (place < SQUARES)[None, :]
    return inverse_root(tl.sum(tl.load(at, mask=mask, other=0.0), 1), NORM, EPS)


@triton.jit
def store_scaled(
    value,
    norm,
    scaled,
    sums,
    row,
    column,
    live,
    tile,
    COLUMNS: tl.constexpr,
    PITCH: tl.constexpr,
    TILES: tl.constexpr,
):
    """Write value [columns, rows] times `norm`, and its sums of squares as those of a tile.

    Values beyond COLUMNS are 0.
    """
    factor = tl.load(norm + column, mask=column < COLUMNS, other=0.0)
    place = row.to(tl.int64)
    cells = (column < PITCH)[:, None] & (row < live)[None, :]
    to = scaled + place[None, :] * PITCH + column[:, None]
    tl.store(to, (value * factor[:, None]).to(scaled.dtype.element_ty), mask=cells)
    tl.store(
        sums + place * ((TILES + 15) // 16 * 16) + tile, tl.sum(squared(value), 0), mask=row < live
    )
