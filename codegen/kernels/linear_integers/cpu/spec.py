"""What a linear kernel for integer weights is compiled for, and how it is tiled."""

from dataclasses import dataclass, field
from math import gcd

from sala_compile.codegen.kernels.linear.cpu import spec as plain
from sala_compile.codegen.kernels.linear.cpu.spec import Blocks
from sala_compile.codegen.kernels.operands import symbol_of
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.linear import LONGEST_BLOCK, activation_group_for


@dataclass(frozen=True, slots=True)
class Spec(plain.Spec):
    """Constants of one kernel: those of a linear, and how its weight is stored.

    `weight` is the element type of x; `bits` are those of an integer, `group` values of a row of
    the weight share a scale, and a zero where `stores_zeros`. `x_bits`, 16 or 8, are those of the
    integers that x becomes.
    """

    bits: int = 4
    group: int = 128
    stores_zeros: bool = False
    x_bits: int = 16

    @property
    def encoding(self) -> str:
        """How the weight is stored, for names."""
        return f"int{self.bits}_g{self.group}" + "_zeros" * self.stores_zeros

    @property
    def symbol(self) -> str:
        """A unique name: the sizes, the encoding, the element of x, and what is fused."""
        parts = [f"{self.depth}x{self.rows}", self.encoding, self.weight]
        parts += ["int8"] * (self.x_bits == 8)
        parts += ["bias"] * self.bias + ["swiglu"] * self.swiglu
        parts += ["residual"] * bool(self.residual_pitch)
        return symbol_of("linear_integers", "_".join(parts), self)

    @property
    def padded_depth(self) -> int:
        """K, padded to whole groups."""
        return -(-self.depth // self.group) * self.group

    @property
    def span(self) -> int:
        """Neighbours whose products are added as integers: a group of the weight or a part."""
        return activation_group_for(self.group)

    @property
    def block(self) -> int:
        """Values of a row of x that share a scale: a span of bytes, else whole spans up to 128."""
        if self.x_bits == 8:
            return self.span
        most = max(1, LONGEST_BLOCK // self.span)
        return self.span * gcd(self.padded_depth // self.span, most)

    @property
    def spans(self) -> int:
        """Spans of a block."""
        return self.block // self.span

    @property
    def lane(self) -> int:
        """Integers in 16 bits."""
        return 16 // self.bits

    @property
    def line(self) -> int:
        """Values of k in a step: those of a row in 32 bits."""
        return 2 * self.lane

    @property
    def quads(self) -> int:
        """Vectors of bytes in a line: four values of k of 16 rows each."""
        return self.line // 4

    @property
    def terms(self) -> int:
        """Integers that stand for a value of x, each with 15 bits more than the last."""
        return 1 if self.weight is Element.BF16 or self.x_bits == 8 else 2

    @property
    def expands(self) -> bool:
        """Whether a panel is unpacked before many rows pass: bytes are read as they are stored."""
        return self.bits < self.x_bits


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles of a kernel."""

    blocks: Blocks = field(default_factory=Blocks)

    def part_blocks(self, spec: Spec) -> int:
        """Blocks of a part where rows are many."""
        return max(1, min(self.blocks.depth, spec.padded_depth) // spec.block)

    def prepared_blocks(self, spec: Spec) -> int:
        """Blocks of x that a worker keeps, of few rows or of many."""
        few = self.blocks.few[-1] * (spec.padded_depth // spec.block)
        return max(few, self.blocks.rows * self.part_blocks(spec))

    def prepared_values(self, spec: Spec) -> int:
        """Integers that stand for them."""
        return self.prepared_blocks(spec) * spec.block * spec.terms

    def panel_values(self, spec: Spec) -> int:
        """Values of a part of a panel that is unpacked."""
        return self.part_blocks(spec) * spec.block * plain.PANEL_ROWS


def default_schedule(spec: Spec, target: CpuTarget) -> Schedule:
    """Return tiles that fit the target's registers.

    Bytes pass so fast that preparing x shows: more panels share it, and parts are longer.
    """
    if target.has_avx512:
        streams = 2 if spec.terms == 1 else 1
        if spec.x_bits == 8:
            return Schedule(Blocks(panels=16, depth=256, streams=streams))
        return Schedule(Blocks(streams=streams))
    return Schedule(Blocks(few=(1, 2, 4), heights=(4,), accumulators=4))
