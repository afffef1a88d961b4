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

from sala_compile.sala_ir.dialect.parameters import KeywordParameter, parse_whole


class EncodingKind(StrEnum):
    """How the values of a weight are stored."""

    PLAIN = "plain"
    INT8 = "int8"
    INT6 = "int6"
    INT5 = "int5"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Bits of a stored integer; 0 if values are stored as they are."""
        return 0 if self is EncodingKind.PLAIN else int(self.value.removeprefix("int"))


class ZeroKind(StrEnum):
    """Where the values of a group begin: which stored integer means zero, or a least value."""

    MIDDLE = "middle"
    """The middle of the range, for all groups: nothing is stored for it."""
    STORED = "stored"
    """An integer of its own for each group."""
    MINIMUM = "minimum"
    """A value of its own for each group, that of the integer 0, stored as its scale is."""


class LayoutKind(StrEnum):
    """How the elements of a weight are arranged in memory."""

    ROW_MAJOR = "row_major"
    PANEL = "panel"
    BLOCK = "block"
    """Integers in panels of weight rows, cut into blocks of columns."""


@irdl_attr_definition
class EncodingKindAttr(KeywordParameter, EnumAttribute[EncodingKind], SpacedOpaqueSyntaxAttribute):
    """The kind of an encoding."""

    name = "sala.encoding_kind"


@irdl_attr_definition
class ZeroKindAttr(KeywordParameter, EnumAttribute[ZeroKind], SpacedOpaqueSyntaxAttribute):
    """The zeros of an encoding."""

    name = "sala.zero_kind"


@irdl_attr_definition
class LayoutKindAttr(KeywordParameter, EnumAttribute[LayoutKind], SpacedOpaqueSyntaxAttribute):
    """The kind of a layout."""

    name = "sala.layout_kind"


@irdl_attr_definition
class EncodingAttr(ParametrizedAttribute):
    """How the values of a weight are stored.

    `#sala.encoding<plain>`: as values of the element type. `#sala.encoding<int4, 128>` and
    `#sala.encoding<int8, 128, stored>`: as unsigned integers i, and for each `group` values
    of a row a float16 scale and a zero; the value is scale * (i - zero), rounded to the element
    type. The zero is the middle of the range (8 or 128) unless it is stored.
    `#sala.encoding<int4, 32, minimum>`: scale * i + minimum, with a float16 minimum too.
    `#sala.encoding<int6, 16, middle, 256>`: 256 values, a super-block, share the float16; the scale
    of a group is its product with a factor of the group, a signed integer of 8 bits. The same
    holds for the minimum.
    """

    name = "sala.encoding"

    kind: EncodingKindAttr
    group: IntAttr
    zeros: ZeroKindAttr
    super_block: IntAttr

    def __init__(
        self,
        kind: EncodingKind = EncodingKind.PLAIN,
        group: int = 0,
        zeros: ZeroKind = ZeroKind.MIDDLE,
        super_block: int = 0,
    ):
        super().__init__(
            EncodingKindAttr(EncodingKind(kind)),
            IntAttr(group),
            ZeroKindAttr(ZeroKind(zeros)),
            IntAttr(super_block),
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
    def has_minima(self) -> bool:
        """Whether every group has a minimum."""
        return self.zeros.data is ZeroKind.MINIMUM

    @property
    def entries(self) -> int:
        """Numbers of a group that are stored as its scale is: the scale, and a minimum or not."""
        return 2 if self.has_minima else 1

    @property
    def scaled(self) -> int:
        """Values of a row that share a float16: those of a group, or of a super-block."""
        return self.super_block.data or self.group.data

    @property
    def parts(self) -> tuple[str, ...]:
        """The tensors that a weight of integers consists of; none of their own for plain."""
        if self.is_plain:
            return ()
        zeros, factors = ("zeros",) * self.stores_zeros, ("factors",) * bool(self.super_block.data)
        return ("codes", "scales", *zeros, *factors)

    @property
    def label(self) -> str:
        """A short name for people and file headers: `plain`, `int4-g128`, `int4-g128-zeros`,
        `int5-g32-minima`, `int6-g16-super256`.
        """
        if self.is_plain:
            return self.kind.data
        name = f"{self.kind.data}-g{self.group.data}"
        name += "-zeros" * self.stores_zeros + "-minima" * self.has_minima
        return name + (f"-super{self.super_block.data}" if self.super_block.data else "")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<kind>`, `<kind, group>`, `<kind, group, zeros>` or these and a super-block."""
        group, zeros, super_block = 0, ZeroKind.MIDDLE, 0
        with parser.in_angle_brackets():
            kind = EncodingKindAttr.parse_parameter(parser)
            if parser.parse_optional_punctuation(","):
                group = parse_whole(parser)
            if parser.parse_optional_punctuation(","):
                zeros = ZeroKindAttr.parse_parameter(parser)
            if parser.parse_optional_punctuation(","):
                super_block = parse_whole(parser)
        return EncodingKindAttr(kind), IntAttr(group), ZeroKindAttr(zeros), IntAttr(super_block)

    def print_parameters(self, printer: Printer) -> None:
        """Print the kind, and what differs from its defaults."""
        with printer.in_angle_brackets():
            self.kind.print_parameter(printer)
            if self.group.data:
                printer.print_string(f", {self.group.data}")
            if self.super_block.data or self.zeros.data is not ZeroKind.MIDDLE:
                printer.print_string(", ")
                self.zeros.print_parameter(printer)
            if self.super_block.data:
                printer.print_string(f", {self.super_block.data}")

    def verify(self) -> None:
        """Refuse integers without whole groups of words, and super-blocks without whole groups."""
        group, super_block = self.group.data, self.super_block.data
        if self.is_plain:
            if group or super_block or self.zeros.data is not ZeroKind.MIDDLE:
                raise VerifyException("a plain encoding has neither groups nor zeros")
            return
        unit = 32 if self.bits == 5 else 16  # 32 fifth bits fill what two words of 16 bits hold
        if group <= 0 or group % unit:
            raise VerifyException(f"the group of an integer encoding is a multiple of {unit}")
        if super_block < 0 or super_block % group:
            raise VerifyException("a super-block consists of whole groups")
        if super_block and self.stores_zeros:
            raise VerifyException("super-blocks have no integers for zeros")


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
            rows = parse_whole(parser) if parser.parse_optional_punctuation(",") else 0
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
