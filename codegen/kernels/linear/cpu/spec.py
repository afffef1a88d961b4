"""What a linear kernel is compiled for, and how it is tiled."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.operands import symbol_of
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.codegen.targets.cpu import CpuTarget


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one linear kernel.

    `depth` is K, `rows` the N of the weight (with SwiGLU: gate and up, interleaved), `weight` the
    element type of x and of the weight. A `residual_pitch` of 0 means that there is no residual.
    """

    depth: int
    rows: int
    weight: Element
    output: Element
    scale: float
    bias: bool
    swiglu: bool
    extent: str
    x_start: int
    x_pitch: int
    residual_start: int = 0
    residual_pitch: int = 0

    def __post_init__(self) -> None:
        """Accept element types by name, as a saved spec has them."""
        object.__setattr__(self, "weight", Element(self.weight))
        object.__setattr__(self, "output", Element(self.output))

    @property
    def symbol(self) -> str:
        """A unique name: the sizes, the element, and what is fused."""
        parts = [f"{self.depth}x{self.rows}", self.weight]
        parts += ["bias"] * self.bias + ["swiglu"] * self.swiglu
        parts += ["residual"] * bool(self.residual_pitch)
        return symbol_of("linear", "_".join(parts), self)

    @property
    def steps(self) -> int:
        """Steps of a dot product."""
        return -(-self.depth // self.weight.pack)

    @property
    def columns(self) -> int:
        """Columns that the kernel writes: all of the output's pitch."""
        return padded(self.rows // 2 if self.swiglu else self.rows)


@dataclass(frozen=True, slots=True)
class TileBlocks:
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

    @property
    def workspace(self) -> int:
        """Floats of the sums and of the packed input of a part, which may have one step more."""
        blocks = self.rows // 32
        steps = max(blocks * (self.steps + 1), min(blocks, self.few) * (self.long_steps + 1))
        return self.sums + steps * 512


@dataclass(frozen=True, slots=True)
class Blocks:
    """Sizes of the division.

    Few rows, up to the last of `few`, share one pass over the weight, in a tile of one of these
    heights. Where there are more, a worker takes up to `rows` rows of up to `panels` panels at a
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

    def vectors(self, rows: int) -> int:
        """Vectors of a panel that a tile of `rows` rows computes at a time."""
        return _vectors(rows, self.accumulators)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles of a linear kernel.

    `accumulators` vectors are in flight at most; `tile_rows` rows share a read of the weight;
    `unroll` steps stand in one loop body. A worker takes `block_tiles` tiles of rows of a panel at
    a time and goes through their depth in parts of `depth_steps` steps, 256 bytes of weight each,
    so that a part stays in a cache while the rows pass. With at most `prefetch_rows` rows the
    weight is prefetched `prefetch_steps` steps ahead. Where there are `tiles` (amx_tiles.py) or
    `blocks` (widened_blocks.py), they are used instead.
    """

    accumulators: int = 24
    tile_rows: int = 6
    unroll: int = 2
    block_tiles: int = 16
    depth_steps: int = 2048
    prefetch_rows: int = 2
    prefetch_steps: int = 8
    tiles: TileBlocks | None = None
    blocks: Blocks | None = None

    @property
    def block_rows(self) -> int:
        """Rows that a worker takes at a time."""
        return self.tile_rows * self.block_tiles

    def workspace(self, spec: Spec) -> int:
        """Floats of the sums of a block (rows x the outputs of a panel), or what others need."""
        if self.blocks is not None:
            return self.blocks.sums + self.blocks.x_values(spec) + self.blocks.depth * PANEL_ROWS
        tiled = self.tiles.workspace if self.tiles else 0
        return max(self.block_rows * PANEL_ROWS, tiled)

    def vectors(self, rows: int) -> int:
        """Vectors of a panel that a tile of `rows` rows computes at a time."""
        return _vectors(rows, self.accumulators)


def _vectors(rows: int, accumulators: int) -> int:
    """How many columns of vectors a tile of `rows` rows has, with so many sums in registers."""
    return max((n for n in (1, 2, 4) if n * rows <= accumulators), default=1)


def default_schedule(spec: Spec, target: CpuTarget) -> Schedule:
    """Return tiles that fit the target's registers, and parts that fit its caches."""
    if target.has_amx_bf16 and spec.weight is Element.BF16:
        return Schedule(tiles=TileBlocks())
    if spec.weight is Element.BF16 and target.has_fast_bf16_dot:
        return Schedule()
    if target.has_avx512:
        return Schedule(blocks=Blocks(depth=64, streams=2))
    return Schedule(blocks=Blocks(few=(1, 2, 4, 6), depth=64, accumulators=6))
