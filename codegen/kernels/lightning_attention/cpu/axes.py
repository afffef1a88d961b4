"""Which schedules of the lightning attention kernel are worth a trial."""

from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.lightning_attention.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget

WIDE_REGISTERS, NARROW_REGISTERS = 24, 8
"""Accumulators that leave room for operands, of 16 floats each."""


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Vectors of a single step, then register tiles of a chunk."""
    limit = WIDE_REGISTERS if target.has_avx512 else NARROW_REGISTERS
    shapes = ((4, 2), (8, 2), (4, 4), (6, 4), (12, 2), (8, 1), (6, 1), (4, 1))
    return (
        single("step_vectors", 2, 4, 8, exact=False),
        Axis(
            "tile",
            tuple(
                {"row_tile": rows, "column_vectors": vectors}
                for rows, vectors in shapes
                if rows * vectors <= limit
            ),
            exact=False,
        ),
    )
