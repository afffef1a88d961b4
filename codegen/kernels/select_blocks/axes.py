"""Which schedules of the block selection kernel are worth a trial."""

from codegen.kernels.choices import Axis
from codegen.kernels.select_blocks.spec import Spec
from codegen.targets.cpu import CpuTarget

WIDE_REGISTERS, NARROW_REGISTERS = 24, 8
"""Accumulators that leave room for operands, of 16 floats each."""


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Register tiles of heads x keys: the chosen blocks must stay the same."""
    limit = WIDE_REGISTERS if target.has_avx512 else NARROW_REGISTERS
    shapes = ((2, 4), (4, 2), (4, 4), (8, 2), (2, 2), (4, 1), (2, 1), (8, 1))
    return (
        Axis(
            "tile",
            tuple(
                {"row_tile": rows, "column_vectors": vectors}
                for rows, vectors in shapes
                if rows * vectors <= limit and rows <= max(2, spec.group)
            ),
        ),
    )
