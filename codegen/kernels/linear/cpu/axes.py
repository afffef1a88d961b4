"""Which schedules of a linear kernel are worth a trial."""

from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks, Tiles, default_tiles
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget

VECTOR_TILES = ((4, 16), (5, 20), (6, 24), (7, 28), (12, 24))
"""Rows and accumulators, which leave 4 of 32 registers for operands."""
TILE_BLOCKS = ((128, 8, 8), (256, 4, 8), (256, 8, 4), (256, 8, 16), (256, 16, 8), (512, 8, 8))
"""Rows, panels and steps of what a worker computes by AMX tiles."""
PARTS = (512, 1024, 2048, 4096)
"""Steps of a part of the depth: 256 bytes of weight each, up to a second-level cache."""


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """What the default's way of computing leaves open: registers first, then caches.

    Every sum takes its steps in order with any tiles, so no axis changes a bit.
    """
    default = default_tiles(spec, target)
    if isinstance(default, Tiles):
        return (_together("tiles", ("rows", "panels", "steps"), TILE_BLOCKS),)
    if isinstance(default, Blocks):
        return block_axes(default)
    prefetches = ((0, 8), (2, 4), (2, 8), (2, 16), (2, 32))
    parts = tuple(steps for steps in PARTS if steps < 2 * spec.steps)
    return (
        single("unroll", 1, 2, 4, 8),
        _together("prefetch", ("prefetch_rows", "prefetch_steps"), prefetches),
        _together("tile", ("tile_rows", "accumulators"), VECTOR_TILES),
        single("block_tiles", 8, 16, 32),
        *((single("depth_steps", *parts),) if len(parts) > 1 else ()),
    )


def block_axes(blocks: Blocks) -> tuple[Axis, ...]:
    """Axes of the division into blocks: the sums and parts of a block stay in caches."""
    return (
        single("ahead", 4, 8, 16, 32),
        single("streams", 1, 2, 4),
        single("panels", 2, 4, 8, 16),
        single("rows", *(blocks.heights[-1] * tiles for tiles in (8, 16, 32))),
        single("depth", 32, 64, 128, 256),
    )


def _together(name: str, fields: tuple[str, ...], values: tuple[tuple[int, ...], ...]) -> Axis:
    return Axis(name, tuple(dict(zip(fields, each, strict=True)) for each in values))
