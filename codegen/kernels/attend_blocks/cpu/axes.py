"""Which schedules of the block attention kernel are worth a trial."""

from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.targets.cpu import CpuTarget

WIDE_REGISTERS, NARROW_REGISTERS = 24, 8
"""Accumulators that leave room for operands, of 16 floats each."""


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Register tiles, then the softmax tile, which decides where the running maximum is taken."""
    limit = WIDE_REGISTERS if target.has_avx512 else NARROW_REGISTERS
    shapes = ((2, 4), (4, 2), (4, 4), (8, 2), (8, 3), (6, 4), (2, 2), (4, 1), (2, 1), (6, 1))
    tile = Axis(
        "tile",
        tuple(
            {"row_tile": rows, "column_vectors": vectors}
            for rows, vectors in shapes
            if rows * vectors <= limit
        ),
    )
    token = Axis(
        "token",
        tuple(
            {"token_rows": rows, "token_vectors": vectors}
            for rows in range(1, 9)
            for vectors in (1, 2, 3, 4, 8)
            if spec.group % rows == 0 and rows * vectors <= limit
        ),
    )
    values = Axis(
        "values",
        tuple(
            {"value_rows": rows, "value_vectors": vectors}
            for rows in range(1, 9)
            for vectors in (1, 2, 4, 8, 16)
            if spec.group % rows == 0 and rows * vectors <= limit
        ),
    )
    return (
        tile,
        token,
        values,
        single("query_rows", 16, 32, 64, 128),
        single("value_blocks", 1, 2, 4),
        single("tile_tokens", 128, 256, 512, exact=False),
    )
