"""How a linear of a CPU is tiled: by vectors, by AMX tiles, or by blocks of widened values."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.codegen.targets.cpu import CpuTarget


@dataclass(frozen=True, slots=True)
class Vectors:
    """Dot products of packs, vector by vector (panel_vectors.py).

    `accumulators` vectors are in flight at most; `tile_rows` rows share a read of the weight;
    one loop body has `unroll` steps. A worker takes `block_tiles` tiles of rows of a panel at
    a time and goes through their depth in parts of `depth_steps` steps, 256 bytes of weight each,
    so that a part stays in a cache while the rows pass. With at most `prefetch_rows` rows the
    weight is prefetched `prefetch_steps` steps ahead.
    """

    accumulators: int = 24
    tile_rows: int = 6
    unroll: int = 2
    block_tiles: int = 16
    depth_steps: int = 2048
    prefetch_rows: int = 2
    prefetch_steps: int = 8

    @property
    def block_rows(self) -> int:
        """Rows that a worker takes at a time."""
        return self.tile_rows * self.block_tiles

    def workspace(self, spec: Spec) -> int:
        """Floats of the sums of a block: rows x the outputs of a panel."""
        return self.block_rows * PANEL_ROWS

    def vectors(self, rows: int) -> int:
        """Vectors of a panel that a tile of `rows` rows computes at a time."""
        return _vectors(rows, self.accumulators)


@dataclass(frozen=True, slots=True)
class Tiles:
    """How AMX tiles cover a linear of more than 16 live rows.

    A worker takes up to `rows` rows of up to `panels` panels at a time and goes through their
    depth in parts of `steps` steps of 32 values; in parts of `long_steps` steps where there are
    at most `few` blocks of 32 rows, which wait for memory and not for tiles.
    """

    rows: int = 256
    panels: int = 8
    steps: int = 8
    long_steps: int = 32
    few: int = 2

    @property
    def sums(self) -> int:
        """Floats of the sums of the rows and panels."""
        return self.rows * self.panels * PANEL_ROWS

    def workspace(self, spec: Spec) -> int:
        """Floats of the sums and of the packed input of a part, which may have one step more."""
        blocks = self.rows // 32
        steps = max(blocks * (self.steps + 1), min(blocks, self.few) * (self.long_steps + 1))
        return self.sums + steps * 512


@dataclass(frozen=True, slots=True)
class Blocks:
    """Sizes of the division.

    Few rows, up to the last of `few`, share one pass over the weight, in a tile of one of these
    heights. If there are more, a worker takes up to `rows` rows of up to `panels` panels at a
    time, `depth` values of k in a part, and tiles of the `heights`, the last of which divides
    `rows`. `accumulators` vectors are in flight at most. Few rows prefetch the weight `ahead` steps
    of 256 bytes ahead; a single row reads `streams` panels at once where these divide all panels.
    """

    few: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    rows: int = 96
    panels: int = 8
    depth: int = 128
    heights: tuple[int, ...] = (3, 6)
    accumulators: int = 24
    ahead: int = 16
    streams: int = 1

    @property
    def sums(self) -> int:
        """Floats that a worker keeps between parts."""
        return self.rows * self.panels * PANEL_ROWS

    def x_values(self, spec: Spec) -> int:
        """Values of x that a worker keeps, of few rows or of a part of many."""
        return max(self.few[-1] * padded(spec.depth), self.rows * self.depth)

    def workspace(self, spec: Spec) -> int:
        """Floats of the sums, of x and of a part of a panel, both widened."""
        return self.sums + self.x_values(spec) + self.depth * PANEL_ROWS

    def vectors(self, rows: int) -> int:
        """Vectors of a panel that a tile of `rows` rows computes at a time."""
        return _vectors(rows, self.accumulators)


Schedule = Vectors | Tiles | Blocks
"""Tiles of a linear kernel."""


def _vectors(rows: int, accumulators: int) -> int:
    """How many columns of vectors a tile of `rows` rows has, with so many sums in registers."""
    return max((n for n in (1, 2, 4) if n * rows <= accumulators), default=1)


def default_tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """Return tiles that fit the target's registers, and parts that fit its caches."""
    if target.has_amx_bf16 and spec.weight is Element.BF16:
        return Tiles()
    if spec.weight is Element.BF16 and target.has_fast_bf16_dot:
        return Vectors()
    if target.has_avx512:
        return Blocks(depth=64, streams=2)
    return Blocks(few=(1, 2, 4, 6), depth=64, accumulators=6)
