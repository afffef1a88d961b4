"""How the values of a weight are stored, and how they are arranged in memory."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IntAttr
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, ParametrizedAttribute, SpacedOpaqueSyntaxAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum


class EncodingKind(StrEnum):
    """How the values of a weight are stored."""

    PLAIN = "plain"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Bits of a stored integer; 0 if values are stored as they are."""
        return {EncodingKind.PLAIN: 0, EncodingKind.INT8: 8, EncodingKind.INT4: 4}[self]


class ZeroKind(StrEnum):
    """Which stored integer means zero in a group of an integer encoding."""

    MIDDLE = "middle"
    """The middle of the range, for all groups: nothing is stored for it."""
    STORED = "stored"
    """An integer of its own for each group."""


class LayoutKind(StrEnum):
    """How the elements of a weight are arranged in memory."""

    ROW_MAJOR = "row_major"
    PANEL = "panel"
    BLOCK = "block"
    """Integers in panels of weight rows, cut into blocks of columns."""


@irdl_attr_definition
class EncodingKindAttr(EnumAttribute[EncodingKind], SpacedOpaqueSyntaxAttribute):
    """The kind of an encoding."""

    name = "sala.encoding_kind"


@irdl_attr_definition
class ZeroKindAttr(EnumAttribute[ZeroKind], SpacedOpaqueSyntaxAttribute):
    """The zeros of an encoding."""

    name = "sala.zero_kind"


@irdl_attr_definition
class LayoutKindAttr(EnumAttribute[LayoutKind], SpacedOpaqueSyntaxAttribute):
    """The kind of a layout."""

    name = "sala.layout_kind"


@irdl_attr_definition
class EncodingAttr(ParametrizedAttribute):
    """How the values of a weight are stored.

    `#sala.encoding<plain>`: as values of the element type. `#sala.encoding<int4, 128>` and
    `#sala.encoding<int8, 128, stored>`: as unsigned integers i, and for each `group` values
    of a row a float16 scale and a zero; the value is scale * (i - zero), rounded to the element
    type. The zero is the middle of the range (8 or 128) unless it is stored.
    """

    name = "sala.encoding"

    kind: EncodingKindAttr
    group: IntAttr
    zeros: ZeroKindAttr

    def __init__(
        self,
        kind: EncodingKind = EncodingKind.PLAIN,
        group: int = 0,
        zeros: ZeroKind = ZeroKind.MIDDLE,
    ):
        super().__init__(
            EncodingKindAttr(EncodingKind(kind)), IntAttr(group), ZeroKindAttr(ZeroKind(zeros))
        )

    @property
    def is_plain(self) -> bool:
        """Whether values are stored as they are."""
        return self.kind.data is EncodingKind.PLAIN

    @property
    def bits(self) -> int:
        """Bits of a stored integer; 0 for plain."""
        return self.kind.data.bits

    @property
    def stores_zeros(self) -> bool:
        """Whether every group has a zero of its own."""
        return self.zeros.data is ZeroKind.STORED

    @property
    def parts(self) -> tuple[str, ...]:
        """The tensors that a weight of integers consists of; none of their own for plain."""
        if self.is_plain:
            return ()
        return ("codes", "scales", "zeros") if self.stores_zeros else ("codes", "scales")

    @property
    def label(self) -> str:
        """A short name for people and file headers: `plain`, `int4-g128`, `int4-g128-zeros`."""
        if self.is_plain:
            return self.kind.data
        return f"{self.kind.data}-g{self.group.data}" + "-zeros" * self.stores_zeros

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<kind>`, `<kind, group>` or `<kind, group, zeros>`."""
        group, zeros = 0, ZeroKind.MIDDLE
        with parser.in_angle_brackets():
            kind = EncodingKindAttr.parse_parameter(parser)
            if parser.parse_optional_punctuation(","):
                group = parser.parse_integer()
            if parser.parse_optional_punctuation(","):
                zeros = ZeroKindAttr.parse_parameter(parser)
        return EncodingKindAttr(kind), IntAttr(group), ZeroKindAttr(zeros)

    def print_parameters(self, printer: Printer) -> None:
        """Print the kind, and what differs from its defaults."""
        with printer.in_angle_brackets():
            self.kind.print_parameter(printer)
            if self.group.data:
                printer.print_string(f", {self.group.data}")
            if self.stores_zeros:
                printer.print_string(", ")
                self.zeros.print_parameter(printer)

    def verify(self) -> None:
        """Refuse integers without groups of a multiple of 16 values."""
        if self.is_plain and (self.group.data or self.stores_zeros):
            raise VerifyException("a plain encoding has neither groups nor zeros")
        if not self.is_plain and (self.group.data <= 0 or self.group.data % 16):
            raise VerifyException("the group of an integer encoding is a multiple of 16")


@irdl_attr_definition
class LayoutAttr(ParametrizedAttribute):
    """`#sala.layout<row_major>`, or `#sala.layout<panel, 64>` for panels of 64 weight rows.

    `#sala.layout<block, 64>`: panels with integers in blocks of columns, as GPUs read them.
    """

    name = "sala.layout"

    kind: LayoutKindAttr
    panel_rows: IntAttr

    def __init__(self, kind: LayoutKind = LayoutKind.ROW_MAJOR, panel_rows: int = 0):
        super().__init__(LayoutKindAttr(LayoutKind(kind)), IntAttr(panel_rows))

    @classmethod
    def panel(cls, rows: int) -> LayoutAttr:
        """The panel layout [Np/rows][Kp/p][rows][p]."""
        return cls(LayoutKind.PANEL, rows)

    @classmethod
    def block(cls, rows: int) -> LayoutAttr:
        """The layout of integers in blocks of `rows` weight rows."""
        return cls(LayoutKind.BLOCK, rows)

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<kind>` or `<kind, rows>`."""
        with parser.in_angle_brackets():
            kind = LayoutKindAttr.parse_parameter(parser)
            rows = parser.parse_integer() if parser.parse_optional_punctuation(",") else 0
        return LayoutKindAttr(kind), IntAttr(rows)

    def print_parameters(self, printer: Printer) -> None:
        """Print `<kind>` or `<kind, rows>`."""
        with printer.in_angle_brackets():
            self.kind.print_parameter(printer)
            if self.panel_rows.data:
                printer.print_string(f", {self.panel_rows.data}")

    def verify(self) -> None:
        """Refuse panels without a positive number of rows."""
        if (self.kind.data is not LayoutKind.ROW_MAJOR) != (self.panel_rows.data > 0):
            raise VerifyException("a layout of panels, and no other, has a positive number of rows")
