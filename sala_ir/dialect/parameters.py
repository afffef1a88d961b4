"""Numbers and keywords inside of the dialect's types and attributes, in both text forms.

The form for people is `#sala.encoding<int4, 128>`. In the generic form every parameter is an
attribute, `#sala.encoding<"int4", 128 : i64, "middle", 0 : i64>`, as tools need it that know the
dialect by its definition in IRDL alone (`sala_ir.generic_form`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from xdsl.dialects.builtin import f64, i64
from xdsl.ir import Attribute
from xdsl.parser import AttrParser
from xdsl.utils.str_enum import StrEnum


def parse_whole(parser: AttrParser) -> int:
    """Parse `5` or `5 : i64`."""
    value = parser.parse_integer(allow_boolean=False)
    _parse_type(parser, i64)
    return value


def parse_real(parser: AttrParser) -> int | float:
    """Parse `0.5` or `0.5 : f64`."""
    value = parser.parse_number()
    _parse_type(parser, f64)
    return value


def _parse_type(parser: AttrParser, expected: Attribute) -> None:
    if parser.parse_optional_punctuation(":"):
        found = parser.parse_type()
        if found != expected:
            parser.raise_error(f"expected a number of type {expected}, found {found}")


class KeywordParameter:
    """For an `EnumAttribute`: reads `#sala<rows tokens>`, and `#sala.rows<"tokens">` too."""

    enum_type: ClassVar[type[StrEnum]]

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Any:
        """Parse a keyword, or `<"keyword">`."""
        if parser.parse_optional_punctuation("<") is None:
            return parser.parse_str_enum(cls.enum_type)
        value = parser.parse_str_enum(cls.enum_type)
        parser.parse_punctuation(">")
        return value
