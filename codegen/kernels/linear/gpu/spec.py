"""What a linear kernel of a GPU is compiled for, and how it is tiled."""

from dataclasses import dataclass
from enum import StrEnum

from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.integer_blocks import PANEL_ROWS, IntegerBlocks
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cuda import CudaTarget

NARROW = 8192
"""Rows of a weight that give few programs: each needs more warps."""


class LinearForm(StrEnum):
    """How the rows of the input are cut."""

    TILES = "tiles"
    """Many rows: tiles of the output, each with all of the depth."""
    ROWS = "rows"
    """Few rows: 8 of them against tiles of the weight, whose depth the warps of a program share."""


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one linear kernel.

    `depth` is K, `rows` the N of the weight (with SwiGLU: gate and up, interleaved), `weight` the
    element type of x and of the weight's values. A `residual_pitch` of 0: no residual; `bits` of
    0: plain values. `norm` values of x are to be normalised with `eps`, and x has `squares` sums of
    squares next to it; 0: not. With `scaled` the kernel also writes what the next one reads so.
    """

    depth: int
    rows: int
    weight: Element
    output: Element
    scale: float
    bias: bool
    swiglu: bool
    extent: str
    form: LinearForm
    x_start: int
    x_pitch: int
    residual_start: int = 0
    residual_pitch: int = 0
    bits: int = 0
    group: int = 0
    zeros: bool = False
    minima: bool = False
    super: int = 0
    norm: int = 0
    squares: int = 0
    eps: float = 0.0
    scaled: bool = False

    @property
    def label(self) -> str:
        """The family, the sizes, the element, and what is fused, for names."""
        kind = f"int{self.bits}g{self.group}" if self.bits else str(self.weight)
        kind += "minima" * self.minima + (f"super{self.super}" if self.super else "")
        parts = [f"linear_{self.depth}x{self.rows}", kind, str(self.form)]
        parts += ["bias"] * self.bias + ["swiglu"] * self.swiglu
        parts += ["residual"] * bool(self.residual_pitch)
        parts += ["normed"] * bool(self.norm) + ["scaled"] * self.scaled
        return "_".join(parts)

    @property
    def columns(self) -> int:
        """Outputs of a row."""
        return self.rows // 2 if self.swiglu else self.rows

    @property
    def y_pitch(self) -> int:
        """Columns that the kernel writes: all of the output's pitch."""
        return padded(self.columns)

    @property
    def integers(self) -> IntegerBlocks:
        """How integers are stored; only where `bits` is not 0."""
        return IntegerBlocks(
            self.rows,
            self.depth,
            self.bits,
            self.group,
            zeros=self.zeros,
            minima=self.minima,
            super_block=self.super,
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles of a linear: `rows` of x against `columns` outputs, `depth` values of K at a time.

    TILES: `band` tiles of rows share the tiles of the weight while they are in the cache; integers
    are expanded for up to `expanded` bytes of values at a time. ROWS: each of `warps` warps takes
    its own part of K, and the sums of the parts are added in order.
    """

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    band: int = 8
    expanded: int = 64 << 20

    def across(self, spec: Spec) -> int:
        """Tiles of columns of the outputs of few rows, those of padding too."""
        return -(-spec.y_pitch // (self.columns // 2 if spec.swiglu else self.columns))

    def slab_rows(self, spec: Spec) -> int:
        """Rows of a weight of integers that are expanded at a time: whole panels."""
        panel = spec.integers.depth * spec.weight.bytes * PANEL_ROWS
        return min(max(self.expanded // panel, 1), spec.integers.panels) * PANEL_ROWS


def default_tiles(spec: Spec, target: CudaTarget) -> Schedule:
    """The tiles for an architecture: how much fits its shared memory decides."""
    large = target.shared_bytes > 128 << 10
    if spec.form is LinearForm.ROWS:
        return _for_rows(spec, large)
    if spec.weight is Element.F32:
        return Schedule(64, 64, 32, warps=4, stages=2)
    if not large:
        return Schedule(128, 128, 64, warps=8, stages=3)
    if target.architecture == 80:  # two sums for each output leave it no registers
        return Schedule(128, 128 if spec.swiglu else 256, 64, warps=8, stages=3)
    return Schedule(128, 256, 64, warps=8, stages=4)


def _for_rows(spec: Spec, large: bool) -> Schedule:
    if spec.weight is Element.F32:
        depth = spec.integers.block if spec.bits else 16
        return Schedule(8, 32, depth, warps=4, stages=2)
    if spec.bits:
        return Schedule(8, 32, spec.integers.block, warps=8 if spec.rows <= NARROW else 4, stages=2)
    return Schedule(8, 32, 64, warps=8, stages=3 if large else 2)
