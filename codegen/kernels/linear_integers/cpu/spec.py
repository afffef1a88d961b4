"""What a linear kernel for integer weights is compiled for, and how its integers are stored."""

from dataclasses import dataclass
from math import gcd

from sala_compile.codegen.kernels.linear.cpu import spec as linear
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.integer_panels import (
    IntegerPanels,
    line_columns,
    low_lines,
    unit_columns,
    unit_lines,
)
from sala_compile.sala_ir.dialect.linear import LONGEST_BLOCK, activation_group_for, span_for


@dataclass(frozen=True, slots=True)
class Spec(linear.Spec):
    """Constants of one kernel: those of a linear, and how its weight is stored.

    `weight` is the element type of x; `bits` are those of an integer, `group` values of a row of
    the weight share a scale, and a zero if `stores_zeros`, or a minimum if `has_minima`; these are
    factors of the float16 of a `super_block`, unless that is 0. `x_bits`, 16 or 8, are those of the
    integers that x becomes.
    """

    bits: int = 4
    group: int = 128
    stores_zeros: bool = False
    has_minima: bool = False
    super_block: int = 0
    x_bits: int = 16

    @property
    def encoding(self) -> str:
        """How the weight is stored, for names."""
        parts = ["zeros"] * self.stores_zeros + ["minima"] * self.has_minima
        parts += [f"super{self.super_block}"] * bool(self.super_block)
        return "_".join([f"int{self.bits}_g{self.group}", *parts])

    @property
    def label(self) -> str:
        """The family, the sizes, the encoding, the element of x, and what is fused, for names."""
        parts = [f"linear_integers_{self.depth}x{self.rows}", self.encoding, self.weight]
        return "_".join([*parts, *["int8"] * (self.x_bits == 8), *self.fused])

    @property
    def stored(self) -> IntegerPanels:
        """How the weight is stored."""
        return IntegerPanels(
            self.rows,
            self.depth,
            self.bits,
            self.group,
            zeros=self.stores_zeros,
            minima=self.has_minima,
            super_block=self.super_block,
        )

    @property
    def padded_depth(self) -> int:
        """K, padded to whole groups, or to whole super-blocks."""
        return self.stored.depth

    @property
    def entries(self) -> int:
        """Numbers of a group of the weight: a scale, and a minimum or not."""
        return 2 if self.has_minima else 1

    @property
    def sums_x(self) -> bool:
        """Whether sums of the integers of x are prepared, for zeros or minima."""
        return self.x_bits == 8 or self.has_minima

    @property
    def splits(self) -> bool:
        """Whether integers of x may be split: codes as bytes are the same signed and unsigned."""
        return self.x_bits == 16 and self.bits < 8

    @property
    def span(self) -> int:
        """Neighbours whose products are added as integers: a group of the weight or a part."""
        return span_for(self.group)

    @property
    def block(self) -> int:
        """Values of a row of x that share a scale: some 32 of bytes, else whole spans up to 128."""
        if self.x_bits == 8:
            return activation_group_for(self.group)
        most = max(1, LONGEST_BLOCK // self.span)
        return self.span * gcd(self.padded_depth // self.span, most)

    @property
    def spans(self) -> int:
        """Spans of a block."""
        return self.block // self.span

    @property
    def units(self) -> int:
        """Units of the layout in a span: whole lines of codes."""
        return self.span // self.unit

    @property
    def unit(self) -> int:
        """Values of k in a unit."""
        return unit_columns(self.bits)

    @property
    def lines(self) -> int:
        """Lines of 64 bytes of a vector in a unit."""
        return unit_lines(self.bits)

    @property
    def low_lines(self) -> int:
        """Those of them with the low bits of the codes."""
        return low_lines(self.bits)

    @property
    def pairs(self) -> int:
        """Vectors of pairs in a low line: two values of k of 16 rows each."""
        return line_columns(self.bits) // 2

    @property
    def quads(self) -> int:
        """Vectors of bytes in a low line: four values of k of 16 rows each."""
        return line_columns(self.bits) // 4

    @property
    def terms(self) -> int:
        """Integers of a value of x, each with 15 bits more than the last."""
        return 1 if self.weight is Element.BF16 or self.x_bits == 8 else 2

    @property
    def expands(self) -> bool:
        """Whether a panel is unpacked before many rows pass: bytes are read as they are stored."""
        return self.bits < self.x_bits
