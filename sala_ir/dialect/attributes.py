"""Attributes and keywords of the `sala` dialect, without those of weights."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, ClassVar, TypeVar, cast

from xdsl.dialects.builtin import FloatAttr, IntegerAttr, f64, i64
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Data, SpacedOpaqueSyntaxAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.str_enum import StrEnum

from sala_compile.sala_ir.attention_sizes import (
    BlockSelection,
    Heads,
    LatentHeads,
    PageRounding,
    StateHeads,
)
from sala_compile.sala_ir.dialect.parameters import KeywordParameter, parse_real, parse_whole

Record = TypeVar("Record")


class Epilogue(StrEnum):
    """What a linear does with its accumulators before scale and residual."""

    NONE = "none"
    SWIGLU = "swiglu"


class Rows(StrEnum):
    """The live count of a step that gives the rows of an activation."""

    TOKENS = "tokens"
    LOGIT_ROWS = "logit_rows"


@irdl_attr_definition
class EpilogueAttr(KeywordParameter, EnumAttribute[Epilogue], SpacedOpaqueSyntaxAttribute):
    """`#sala<epilogue swiglu>`: the epilogue of a linear."""

    name = "sala.epilogue"


@irdl_attr_definition
class RowsAttr(KeywordParameter, EnumAttribute[Rows], SpacedOpaqueSyntaxAttribute):
    """`#sala<rows logit_rows>`: the rows of an activation, where they are not its tokens."""

    name = "sala.rows"


IntegerProperty = IntegerAttr.constr(i64)
"""Constraint of a whole-number property."""

FloatProperty = FloatAttr.constr(f64)
"""Constraint of a real-number property."""


class RecordAttr(Data[Record]):
    """A frozen dataclass of numbers as an attribute: `<field = number, ...>`, in its order."""

    record: ClassVar[type[Any]]

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Record:
        """Parse `<field = number, ...>`, or `<number, ...>` in the order of the fields."""
        values: dict[str, int | float] = {}
        with parser.in_angle_brackets():
            for index, field in enumerate(fields(cls.record)):
                if index:
                    parser.parse_punctuation(",")
                if parser.parse_optional_keyword(field.name):
                    parser.parse_punctuation("=")
                is_whole = field.type in (int, "int")
                values[field.name] = parse_whole(parser) if is_whole else parse_real(parser)
        return cls.record(**values)

    def print_parameter(self, printer: Printer) -> None:
        """Print `<field = number, ...>`."""
        with printer.in_angle_brackets():
            for index, (name, value) in enumerate(asdict(cast(Any, self.data)).items()):
                printer.print_string(", " * bool(index) + f"{name} = ")
                if isinstance(value, int):
                    printer.print_int(value)
                else:
                    printer.print_float(value, f64)


@irdl_attr_definition
class HeadsAttr(RecordAttr[Heads]):
    """`#sala.heads<num_heads = 32, kv_heads = 2, head_dim = 128, scale = 0.125>`."""

    name = "sala.heads"
    record = Heads

    def verify(self) -> None:
        """Positive counts, kv heads dividing the query heads, an even head size."""
        heads = self.data
        if min(heads.num_heads, heads.kv_heads, heads.head_dim) <= 0:
            raise VerifyException("heads and head_dim must be positive")
        if heads.num_heads % heads.kv_heads:
            raise VerifyException(
                f"{heads.kv_heads} kv heads do not divide {heads.num_heads} heads"
            )
        if heads.head_dim % 2:
            raise VerifyException(f"head_dim must be even, not {heads.head_dim}")


@irdl_attr_definition
class StateHeadsAttr(RecordAttr[StateHeads]):
    """`#sala.state_heads<num_heads = 32, key_heads = 16, key_dim = 128, value_dim = 128, ...>`."""

    name = "sala.state_heads"
    record = StateHeads

    def verify(self) -> None:
        """Positive counts and sizes, key heads dividing the heads."""
        heads = self.data
        if min(heads.num_heads, heads.key_heads, heads.key_dim, heads.value_dim) <= 0:
            raise VerifyException("heads, key_dim and value_dim must be positive")
        if heads.num_heads % heads.key_heads:
            raise VerifyException(
                f"{heads.key_heads} key heads do not divide {heads.num_heads} heads"
            )


@irdl_attr_definition
class LatentHeadsAttr(RecordAttr[LatentHeads]):
    """`#sala.latent_heads<num_heads = 40, key_dim = 64, rotary_dim = 32, ...>`."""

    name = "sala.latent_heads"
    record = LatentHeads

    def verify(self) -> None:
        """Positive counts and sizes, an even rotary part or none, an even width of what is kept."""
        heads = self.data
        sizes = (heads.num_heads, heads.key_dim, heads.rotary_dim + 1)
        if min(*sizes, heads.latent_dim, heads.value_dim) <= 0:
            raise VerifyException("num_heads and the sizes of latent heads must be positive")
        if heads.rotary_dim % 2 or heads.latent_dim % 2:
            raise VerifyException("latent_dim and rotary_dim must be even")


@irdl_attr_definition
class SelectionAttr(RecordAttr[BlockSelection]):
    """`#sala.selection<kernel_size = 32, ...>`: which blocks the queries of a sparse layer read."""

    name = "sala.selection"
    record = BlockSelection

    def verify(self) -> None:
        """A budget that holds the forced blocks: init blocks, own block, the window before it."""
        sizes = self.data
        if min(sizes.init_blocks, sizes.window_blocks, sizes.dense_len) < 0:
            raise VerifyException("selection sizes must not be negative")
        if sizes.topk <= sizes.init_blocks:
            raise VerifyException(f"topk {sizes.topk} must be at least init_blocks + 1")


@irdl_attr_definition
class PageRoundingAttr(RecordAttr[PageRounding]):
    """`#sala.page_rounding<key_bits = 8, value_bits = 4, recent = 128>`: how full pages are stored.

    A full page has for each kv head unsigned integers i that mean scale * i + minimum: keys with a
    scale and a minimum for each column, values for each token. Scales and minima have the element
    type of the cache; they and the integers follow from the unrounded keys and values by
    `sala_ir/reference/rounded_pages.py`, exactly.

    A query reads the keys and values of its own page unrounded and all earlier pages rounded,
    however the text was cut into steps.
    """

    name = "sala.page_rounding"
    record = PageRounding

    @classmethod
    def none(cls) -> PageRoundingAttr:
        """All pages as they are."""
        return cls(PageRounding(0, 0, 0))

    @property
    def is_none(self) -> bool:
        """Whether all pages are as they are."""
        return self == PageRoundingAttr.none()

    def verify(self) -> None:
        """Integers of 4 or 8 bits, of which 32 bits hold several; some tokens unrounded."""
        sizes = self.data
        if sizes == PageRounding(0, 0, 0):
            return
        if not {sizes.key_bits, sizes.value_bits} <= {4, 8}:
            raise VerifyException("keys and values are rounded to 4 or 8 bits")
        if sizes.recent <= 0:
            raise VerifyException("recent must be positive")
