"""Which schedules of a linear kernel are worth a trial."""

from dataclasses import replace

from codegen.kernels.choices import Axis, single
from codegen.kernels.linear.spec import Schedule, Spec, default_schedule
from codegen.targets.cpu import CpuTarget

WIDE_REGISTERS, NARROW_REGISTERS = 28, 6
"""Accumulators that leave room for operands: of 32 registers of 16 floats, or of 16 of 8."""
LEAST_PART = 256
"""Steps of a part of the depth, at least: its sums are loaded and stored once for each."""


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Few rows first, which read the weight as one stream; then tiles of rows, then caches.

    Every sum takes its steps in order whatever the tiles, so no axis changes a bit.
    """
    default = default_schedule(spec, target)
    streams = (
        single("unroll", 1, 2, 4, 8),
        Axis(
            "prefetch",
            tuple(
                {"prefetch_rows": rows, "prefetch_steps": steps}
                for rows, steps in ((0, default.prefetch_steps), (2, 4), (2, 8), (2, 16), (2, 32))
            ),
        ),
    )
    if default.tiles is not None:
        return (*streams, _tiles(default))
    limit = WIDE_REGISTERS if target.has_avx512 else NARROW_REGISTERS
    shapes = ((4, 16), (5, 20), (6, 24), (7, 28), (12, 24), (4, 4), (6, 6), (2, 4), (3, 6))
    tiles = Axis(
        "tile",
        tuple(
            {"tile_rows": rows, "accumulators": count}
            for rows, count in shapes
            if count <= limit and (limit == NARROW_REGISTERS or count >= 16)
        ),
    )
    parts = tuple(
        steps for steps in (512, 1024, 2048, 4096) if LEAST_PART <= steps < 2 * spec.steps
    )
    return (
        *streams,
        tiles,
        single("block_tiles", 8, 16, 32),
        *((single("depth_steps", *parts),) if len(parts) > 1 else ()),
    )


def _tiles(default: Schedule) -> Axis:
    """How AMX tiles cover many rows: rows, panels and steps of a block."""
    tiles = default.tiles
    assert tiles is not None, "the target has tiles"
    shapes = ((128, 4, 8), (256, 2, 8), (256, 4, 4), (256, 4, 16), (256, 8, 8), (512, 4, 8))
    return Axis(
        "tiles",
        tuple(
            {"tiles": replace(tiles, rows=rows, panels=panels, steps=steps)}
            for rows, panels, steps in shapes
        ),
    )
