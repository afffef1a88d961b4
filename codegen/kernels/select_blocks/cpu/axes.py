"""Which schedules of the block selection kernel are worth a trial."""

from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.select_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget

WIDE_REGISTERS, NARROW_REGISTERS = 24, 8
"""Accumulators that leave room for operands, of 16 floats each."""
SHAPES = ((4, 2), (4, 4), (8, 2), (8, 4), (16, 1), (16, 4), (4, 1), (2, 1))
"""Heads and vectors of keys that are scored together."""


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Tiles of heads x keys, and how many of them are in flight: the choice must stay the same."""
    if Schedule(tiled=target.has_amx_bf16).uses_tiles(spec):
        return (single("row_tile", 2, 4, 8),)
    limit = WIDE_REGISTERS if target.has_avx512 else NARROW_REGISTERS
    shapes = tuple(
        {"row_tile": rows, "column_vectors": vectors}
        for rows, vectors in SHAPES
        if rows <= max(2, spec.group) and (target.has_avx512 or vectors == 1)
    )
    counts = tuple(count for count in (4, 8, 16, 24) if count <= limit)
    return (Axis("tile", shapes), single("accumulators", *counts))
