"""Attributes and keywords of the `sala` dialect; plain values to attributes and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from xdsl.dialects.builtin import (
    ArrayAttr,
    BoolAttr,
    DenseIntOrFPElementsAttr,
    DictionaryAttr,
    FloatAttr,
    IntAttr,
    IntegerAttr,
    StringAttr,
    TensorType,
    UnitAttr,
    f32,
    f64,
    i1,
    i64,
)
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException


class EncodingKind(StrEnum):
    """How the values of a weight are stored."""

    PLAIN = "plain"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Bits of a stored integer; 0 where values are stored as they are."""
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


class Epilogue(StrEnum):
    """What a linear does with its accumulators before scale and residual."""

    NONE = "none"
    SWIGLU = "swiglu"


class Extent(StrEnum):
    """Which live count of the control tensor gives the rows of a linear."""

    TOKENS = "tokens"
    LOGIT_ROWS = "logit_rows"


IntegerProperty = IntegerAttr.constr(i64)
"""Constraint of a whole-number property."""

FloatProperty = FloatAttr.constr(f64)
"""Constraint of a real-number property."""


@irdl_attr_definition
class EncodingAttr(ParametrizedAttribute):
    """How the values of a weight are stored.

    `#sala.encoding<"plain">`: as values of the element type. `#sala.encoding<"int4", 128>` and
    `#sala.encoding<"int8", 128, "stored">`: as unsigned integers i, and for each `group` values
    of a row a float16 scale and a zero; the value is scale * (i - zero), rounded to the element
    type. The zero is the middle of the range (8 or 128) unless it is stored.
    """

    name = "sala.encoding"

    kind: StringAttr
    group: IntAttr
    zeros: StringAttr

    def __init__(
        self,
        kind: StringAttr | str = EncodingKind.PLAIN,
        group: IntAttr | int = 0,
        zeros: StringAttr | str = ZeroKind.MIDDLE,
    ):
        super().__init__(
            kind if isinstance(kind, StringAttr) else StringAttr(str(kind)),
            group if isinstance(group, IntAttr) else IntAttr(group),
            zeros if isinstance(zeros, StringAttr) else StringAttr(str(zeros)),
        )

    @property
    def is_plain(self) -> bool:
        """Whether values are stored as they are."""
        return self.kind.data == EncodingKind.PLAIN

    @property
    def bits(self) -> int:
        """Bits of a stored integer; 0 for plain."""
        return EncodingKind(self.kind.data).bits

    @property
    def stores_zeros(self) -> bool:
        """Whether every group has a zero of its own."""
        return self.zeros.data == ZeroKind.STORED

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
        """Parse `<"kind">`, `<"kind", group>` or `<"kind", group, "zeros">`."""
        group, zeros = 0, str(ZeroKind.MIDDLE)
        with parser.in_angle_brackets():
            kind = parser.parse_str_literal()
            if parser.parse_optional_punctuation(","):
                group = parser.parse_integer()
            if parser.parse_optional_punctuation(","):
                zeros = parser.parse_str_literal()
        return StringAttr(kind), IntAttr(group), StringAttr(zeros)

    def print_parameters(self, printer: Printer) -> None:
        """Print the kind, and what differs from its defaults."""
        with printer.in_angle_brackets():
            printer.print_string_literal(self.kind.data)
            if self.group.data:
                printer.print_string(f", {self.group.data}")
            if self.stores_zeros:
                printer.print_string(", ")
                printer.print_string_literal(self.zeros.data)

    def verify(self) -> None:
        """Refuse unknown kinds, and integers without groups of a multiple of 16 values."""
        if self.kind.data not in tuple(EncodingKind):
            raise VerifyException(f'unknown weight encoding "{self.kind.data}"')
        if self.zeros.data not in tuple(ZeroKind):
            raise VerifyException(f'unknown zeros of an encoding "{self.zeros.data}"')
        if self.is_plain and (self.group.data or self.stores_zeros):
            raise VerifyException("a plain encoding has neither groups nor zeros")
        if not self.is_plain and (self.group.data <= 0 or self.group.data % 16):
            raise VerifyException("the group of an integer encoding is a multiple of 16")


@irdl_attr_definition
class LayoutAttr(ParametrizedAttribute):
    """`#sala.layout<"row_major">`, or `#sala.layout<"panel", 64>` for panels of 64 weight rows.

    `#sala.layout<"block", 64>`: panels with integers in blocks of columns, as GPUs read them.
    """

    name = "sala.layout"

    kind: StringAttr
    panel_rows: IntAttr

    def __init__(
        self, kind: StringAttr | str = LayoutKind.ROW_MAJOR, panel_rows: IntAttr | int = 0
    ):
        super().__init__(
            kind if isinstance(kind, StringAttr) else StringAttr(str(kind)),
            panel_rows if isinstance(panel_rows, IntAttr) else IntAttr(panel_rows),
        )

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
        """Parse `<"kind">` or `<"kind", rows>`."""
        with parser.in_angle_brackets():
            kind = parser.parse_str_literal()
            rows = parser.parse_integer() if parser.parse_optional_punctuation(",") else 0
        return StringAttr(kind), IntAttr(rows)

    def print_parameters(self, printer: Printer) -> None:
        """Print `<"kind">` or `<"kind", rows>`."""
        with printer.in_angle_brackets():
            printer.print_string_literal(self.kind.data)
            if self.panel_rows.data:
                printer.print_string(f", {self.panel_rows.data}")

    def verify(self) -> None:
        """Refuse an unknown kind, and panels without a positive number of rows."""
        if self.kind.data not in tuple(LayoutKind):
            raise VerifyException(f'unknown weight layout "{self.kind.data}"')
        if (self.kind.data != LayoutKind.ROW_MAJOR) != (self.panel_rows.data > 0):
            raise VerifyException("a layout of panels, and no other, has a positive number of rows")


def integer(value: int | IntegerAttr) -> IntegerAttr:
    """An i64 attribute."""
    return value if isinstance(value, IntegerAttr) else _integer(value)


@lru_cache(maxsize=4096)
def _integer(value: int) -> IntegerAttr:
    return IntegerAttr(value, i64)


def floating(value: float | FloatAttr) -> FloatAttr:
    """An f64 attribute."""
    return value if isinstance(value, FloatAttr) else FloatAttr(float(value), f64)


def dense_f32(values: Sequence[float]) -> DenseIntOrFPElementsAttr:
    """A dense attribute `tensor<Nxf32>`."""
    return DenseIntOrFPElementsAttr.from_list(
        TensorType(f32, [len(values)]), [float(value) for value in values]
    )


def dense_i64(values: Sequence[int]) -> DenseIntOrFPElementsAttr:
    """A dense attribute `tensor<Nxi64>`."""
    return DenseIntOrFPElementsAttr.from_list(TensorType(i64, [len(values)]), list(values))


def attribute_of(value: Any) -> Attribute:
    """The attribute of a plain value: bool i1, int i64, float f64, str, sequence, mapping."""
    match value:
        case Attribute():
            return value
        case None:
            return UnitAttr()
        case bool():
            return BoolAttr.from_bool(value)
        case int():
            return integer(value)
        case float():
            return floating(value)
        case str():
            return StringAttr(str(value))
        case Mapping():
            return DictionaryAttr({str(key): attribute_of(item) for key, item in value.items()})
        case Sequence():
            return ArrayAttr([attribute_of(item) for item in value])
    raise TypeError(f"no attribute represents a value of type {type(value).__name__}")


def plain(attribute: Attribute) -> Any:
    """The plain value of an attribute, the inverse of `attribute_of`; sequences become tuples."""
    match attribute:
        case IntegerAttr():
            return bool(attribute.value.data) if attribute.type == i1 else attribute.value.data
        case FloatAttr():
            return attribute.value.data
        case StringAttr() | IntAttr():
            return attribute.data
        case EnumAttribute():
            return attribute.data
        case DenseIntOrFPElementsAttr():
            return tuple(attribute.get_values())
        case ArrayAttr():
            return tuple(plain(item) for item in attribute.data)
        case DictionaryAttr():
            return {key: plain(item) for key, item in attribute.data.items()}
        case UnitAttr():
            return None
    raise TypeError(f"no plain value for {attribute}")
