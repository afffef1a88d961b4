"""Panels of integer weights as they are stored; `codegen.layouts.integer_panels` has the layout."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, given
from sala_compile.codegen.kernels.linear.cpu.block_division import Column
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    Tensors,
    held,
    lanes,
    let,
    loop,
    prefetch,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.layouts.integer_panels import (
    LOW,
    IntegerPanels,
    high_bits,
    high_shift,
    low_bits,
)

LINE = 2 * LANES
"""16-bit values in a vector."""
BYTES = 2 * LINE
"""Bytes in a vector."""
WORDS = f"uint16x{LINE}"
BOTH = 0x0101
"""Repeats a byte in both of a word."""
Read = Callable[[Expr, Expr | None, int, int], Expr]
"""A vector of a low line and its high line: which low line of a unit, and which place in it."""


def panel_arguments(shapes: IntegerPanels) -> Arguments:
    """The stored parts of a weight: codes, scales, zeros?, factors?."""
    codes, scales, groups = shapes.codes_shape, shapes.scales_shape, shapes.groups_shape
    factors = bool(shapes.super_block)
    return (
        given("codes", "u16", *codes, operand="weight", part="codes"),
        given("scales", "f16", *scales, operand="weight", part="scales"),
        given("zeros", "u8", *groups, operand="weight", part="zeros", when=shapes.zeros),
        given("factors", "i8", *groups, operand="weight", part="factors", when=factors),
    )


@dataclass(frozen=True, slots=True)
class PanelWeights:
    """Reads the stored parts of a weight."""

    spec: Spec
    tensors: Tensors

    @property
    def unpacked(self) -> Tensor:
        """The part of a panel that a worker keeps unpacked."""
        return self.tensors.unpacked

    def group(self, span: Expr) -> Expr:
        """The group that a span of the depth belongs to."""
        spans = self.spec.group // self.spec.span
        return span if spans == 1 else held(span // spans)

    def scale(self, panel: Expr, group: Expr, j: Expr, entry: int = 0) -> Expr:
        """The scales (`entry` 1: the minima) of vector j of a panel, as floats."""
        spec, here = self.spec, lanes(j * LANES)
        place = held(group * spec.entries + entry)
        if not spec.super_block:
            return let(vector.from_f16(self.tensors.scales[panel, place, here]))
        wide = held(group // (spec.super_block // spec.group) * spec.entries + entry)
        scale = vector.from_f16(self.tensors.scales[panel, wide, here])
        factor = T.Cast(f"int32x{LANES}", self.tensors.factors[panel, place, here])
        # 11 bits by 8: no product is rounded.
        return let(scale * T.Cast(vector.FLOATS, factor))

    def line(self, panel: Expr, unit: Expr, index: int, j: Expr) -> Expr:
        """A line of codes of a unit of vector j of a panel; the last one may be of high bits."""
        place = unit * self.spec.lines + index
        return let(self.tensors.codes[panel, place, j * LANES, lanes(0, LINE)])

    def high(self, panel: Expr, unit: Expr, j: Expr) -> Expr | None:
        """The line of high bits of a unit, if it has one."""
        return self.line(panel, unit, self.spec.lines - 1, j) if high_bits(self.spec.bits) else None

    def prefetch(self, panel: Expr, unit: Expr, j: Expr, ahead: int) -> None:
        """Emit the prefetch of a unit `ahead` lines after this one."""
        for line in range(self.spec.lines):
            place = unit * self.spec.lines + (line + ahead)
            prefetch(self.tensors.codes, panel, place, j * LANES, 0)

    def prefetch_scales(self, panel: Expr, group: Expr, j: Expr) -> None:
        """Emit the prefetch of what a group has of its own for vector j of a panel."""
        stored = self.tensors.factors if self.spec.super_block else self.tensors.scales
        for entry in range(self.spec.entries):
            prefetch(stored, panel, group * self.spec.entries + entry, j * LANES)

    def zeros(self, panel: Expr, group: Expr, j: Expr) -> Expr | None:
        """The stored zeros of vector j of a panel, int32; None if all are the middle."""
        stored = self.tensors.find("zeros")
        if stored is None:
            return None
        return let(T.Cast(f"int32x{LANES}", stored[panel, group, lanes(j * LANES)]))

    def span(
        self,
        index: Expr,
        columns: list[Column],
        places: int,
        read: Read,
        *,
        alone: bool,
        ahead: int,
    ) -> Iterator[tuple[Expr, dict[int, Expr]]]:
        """Emit the unpacking of span `index`: vectors `read` from the `places` of its low lines.

        Yields the number of a vector in the span, and that vector of some columns, by their places:
        of all at a time, which share a read of x, or `alone`, which takes fewer registers.
        """
        spec, numbered = self.spec, list(enumerate(columns))
        with loop(spec.units) as step:
            unit = held(index * spec.units + step)
            for some in [[each] for each in numbered] if alone else [numbered]:
                high = {n: self.high(panel, unit, j) for n, (panel, j) in some}
                for _, (panel, j) in some:
                    self.prefetch(panel, unit, j, ahead)
                for line in range(spec.low_lines):
                    low = {n: self.line(panel, unit, line, j) for n, (panel, j) in some}
                    for place in range(places):
                        number = (step * spec.low_lines + line) * places + place
                        yield number, {n: let(read(low[n], high[n], line, place)) for n in low}

    def pair(self, low: Expr, high: Expr | None, line: int, place: int) -> Expr:
        """The pair at a place of a low line of a unit: unsigned integers of 16 bits."""
        bits = self.spec.bits
        width, places = low_bits(bits), 16 // low_bits(bits)
        pair = _shifted(low, -width * place)
        if place + 1 < places or high is not None:
            pair = _masked(pair, (1 << width) - 1)
        return pair if high is None else pair | self._high(high, line, place, 1)

    def quad(self, low: Expr, high: Expr | None, line: int, half: int) -> Expr:
        """The low or the high halves of the bytes of a low line, as bytes; bytes of 8 bits whole.

        Shifts of words move bits into bytes where a mask takes them off.
        """
        if low_bits(self.spec.bits) == 8:
            return let(T.reinterpret(low, dtype=f"uint8x{BYTES}"))
        quad = _masked(_shifted(low, -LOW * half), BOTH * 0x0F)
        if high is not None:
            quad = quad | self._high(high, line, half, BOTH)
        return let(T.reinterpret(quad, dtype=f"uint8x{BYTES}"))

    def _high(self, high: Expr, line: int, place: int, times: int) -> Expr:
        """The high bits of a place of a line, in a word, or (`times` is BOTH) in both its bytes."""
        bits = self.spec.bits
        mask = ((1 << bits) - (1 << LOW)) * times
        return _masked(_shifted(high, LOW - high_shift(bits, line, place)), mask)


def _shifted(line: Expr, left: int) -> Expr:
    """The words of a line shifted left, or right if `left` is negative."""
    if not left:
        return line
    shift = T.shift_left if left > 0 else T.shift_right
    return shift(line, T.broadcast(T.uint16(abs(left)), LINE))


def _masked(line: Expr, mask: int) -> Expr:
    return line & T.broadcast(T.uint16(mask), LINE)
