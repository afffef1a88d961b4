"""Grids and sizes of kernels that go row by row."""

import triton

from sala_compile.codegen.kernels.triton.kernel import ONE, Grid

VALUES_PER_THREAD = 16
"""Values of a row that a thread holds in registers."""


def row_grid(symbol: str = "tokens", parts: int = 1) -> tuple[Grid, Grid, Grid]:
    """A program for every row, or for each of the `parts` of a row."""
    return Grid(0, ((symbol, 1, 1),)), Grid(parts), ONE


def power_of_two(count: int, least: int = 1) -> int:
    """The smallest power of two that holds `count`, at least `least`."""
    return max(triton.next_power_of_2(count), least)


def warps_for(values: int, most: int = 16) -> int:
    """Warps for a tile of `values` values, a power of two."""
    return max(1, min(most, power_of_two(values) // (32 * VALUES_PER_THREAD)))
