"""What a linear kernel for integer weights is compiled for, and how its integers are stored."""

from dataclasses import dataclass
from math import gcd

from sala_compile.codegen.kernels.linear.cpu import spec as linear
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.dialect.linear import LONGEST_BLOCK, activation_group_for


@dataclass(frozen=True, slots=True)
class Spec(linear.Spec):
    """Constants of one kernel: those of a linear, and how its weight is stored.

    `weight` is the element type of x; `bits` are those of an integer, `group` values of a row of
    the weight share a scale, and a zero if `stores_zeros`. `x_bits`, 16 or 8, are those of the
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
    def label(self) -> str:
        """The family, the sizes, the encoding, the element of x, and what is fused, for names."""
        parts = [f"linear_integers_{self.depth}x{self.rows}", self.encoding, self.weight]
        return "_".join([*parts, *["int8"] * (self.x_bits == 8), *self.fused])

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
        """Integers of a value of x, each with 15 bits more than the last."""
        return 1 if self.weight is Element.BF16 or self.x_bits == 8 else 2

    @property
    def expands(self) -> bool:
        """Whether a panel is unpacked before many rows pass: bytes are read as they are stored."""
        return self.bits < self.x_bits
