"""Types of the `sala` dialect: the ragged batch, the kinds of state, weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self, cast

from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    AnyTensorType,
    ArrayAttr,
    IntAttr,
    NoneAttr,
    TensorType,
    bf16,
    f32,
    i32,
)
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.attention_sizes import PageRounding
from sala_compile.sala_ir.dialect.attributes import PageRoundingAttr, Rows, RowsAttr
from sala_compile.sala_ir.dialect.parameters import parse_whole
from sala_compile.sala_ir.dialect.state_parts import PageNumbering, Shared, StatePart
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, LayoutAttr

DYNAMIC = DYNAMIC_INDEX
"""The extent of a tensor dimension that is known only at run time."""


def activation_type(columns: int, element: Attribute, rows: Rows = Rows.TOKENS) -> AnyTensorType:
    """`tensor<?xCxE>`: one row for each token; `tensor<?xCxE, #sala<rows ...>>` of other rows."""
    encoding = NoneAttr() if rows is Rows.TOKENS else RowsAttr(rows)
    return TensorType(element, [DYNAMIC, columns], encoding)


def ids_type(rank: int = 1) -> AnyTensorType:
    """`tensor<?xi32>` or `tensor<?x?xi32>`."""
    return TensorType(i32, [DYNAMIC] * rank)


ELEMENTS = (f32, bf16)
"""The element types of activations, states and weights."""


def check_element(element: Attribute) -> None:
    """Refuse an element type that is neither f32 nor bf16."""
    if element not in ELEMENTS:
        raise VerifyException(f"element type must be f32 or bf16, not {element}")


@irdl_attr_definition
class BatchType(ParametrizedAttribute, TypeAttribute):
    """`!sala.batch`: offsets, histories, call lengths, slots, page tables of a ragged batch."""

    name = "sala.batch"


@dataclass(frozen=True, init=False)
class StateType(ParametrizedAttribute, TypeAttribute):
    """Base of the pools that outlive a step: positive sizes, then the element type.

    A value of such a type has at most one writer, and every reader is before that writer.
    A new kind of state says here what it consists of: `parts`, `numbering` and the two constants.
    """

    MEMORY: ClassVar[str] = "state"
    """What its memory is called in plans: `kv_pages`."""
    NARROW: ClassVar[bool] = True
    """Whether it takes the element type of the linears; else it stays float32."""

    element_type: Attribute

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The tensors that it consists of."""
        raise NotImplementedError

    @property
    def numbering(self) -> PageNumbering | None:
        """What numbers the rows of its pool: pages; None for slots, one for each sequence."""
        return None

    def with_page(self, tokens: int) -> StateType:
        """The same state in pages for `tokens` tokens; itself where it has none."""
        return self

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<size, ..., element>`."""
        sizes: list[Attribute] = []
        with parser.in_angle_brackets():
            for _ in cls.get_irdl_definition().parameters[1:]:
                sizes.append(IntAttr(parse_whole(parser)))
                parser.parse_punctuation(",")
            return [parser.parse_type(), *sizes]

    def print_parameters(self, printer: Printer) -> None:
        """Print `<size, ..., element>`."""
        with printer.in_angle_brackets():
            for size in self.sizes:
                printer.print_string(f"{size}, ")
            printer.print_attribute(self.element_type)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes in the order of the text form."""
        return tuple(cast(int, each.data) for each in self.parameters if isinstance(each, IntAttr))

    def with_element(self, element: Attribute) -> Self:
        """The same pool with another element type."""
        return self.new([element, *map(IntAttr, self.sizes)])

    def verify(self) -> None:
        """Refuse sizes that are not positive, and element types other than f32 and bf16."""
        if any(size <= 0 for size in self.sizes):
            raise VerifyException(f"sizes of {self.name} must be positive, not {self.sizes}")
        check_element(self.element_type)


WORD_BITS = 32
"""Bits of a word, which holds the integers of a rounded page one after the other, lowest first."""


@irdl_attr_definition
class KvCacheType(StateType):
    """`!sala.kv_cache<kv_heads, page_tokens, head_dim, element (, #sala.page_rounding<...>)?>`.

    The pages of keys and values; with a rounding full pages are integers, and the last tokens of
    each sequence are kept unrounded next to them: that of token t is in place t % `recent`.
    """

    name = "sala.kv_cache"
    MEMORY: ClassVar[str] = "kv_pages"
    RECENT: ClassVar[str] = "recent_kv"
    MULTIPLE: ClassVar[int] = 16
    """Tokens of a rounded page and columns of its heads are multiples of it."""

    kv_heads: IntAttr
    page_tokens: IntAttr
    head_dim: IntAttr
    page_rounding: PageRoundingAttr

    @property
    def rounding(self) -> PageRounding | None:
        """How full pages are stored; None if as they are."""
        return None if self.page_rounding.is_none else self.page_rounding.data

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """Keys, read along the columns, and values, read along the tokens; or integers of both.

        A word of keys has the next columns of a token, [kv heads, words, tokens]; one of values the
        next tokens of a column, [kv heads, words, columns].
        """
        row = (self.kv_heads.data, self.head_dim.data)
        if self.rounding is None:
            keys = StatePart("k", "keys", row)
            return keys, StatePart("v", "values", row, shared=Shared.ENTRIES)
        heads, tokens, columns = self.sizes
        key_words, value_words = (
            extent * bits // WORD_BITS
            for extent, bits in (
                (columns, self.rounding.key_bits),
                (tokens, self.rounding.value_bits),
            )
        )

        page = partial(StatePart, stride=tokens, shared=None)
        recent = partial(StatePart, row=(heads, self.rounding.recent, columns), slots=self.RECENT)
        key_unit, value_unit = (
            2.0 ** (2 - bits) for bits in (self.rounding.key_bits, self.rounding.value_bits)
        )
        return (
            page("k", "keys", (heads, key_words, tokens), words=True),
            page("k_scale", "key_scales", (heads, columns), unit=key_unit),
            page("k_minimum", "key_minima", (heads, columns)),
            page("v", "values", (heads, value_words, columns), words=True),
            page("v_scale", "value_scales", (heads, tokens), unit=value_unit),
            page("v_minimum", "value_minima", (heads, tokens)),
            recent("recent_k", "recent_keys"),
            recent("recent_v", "recent_values"),
        )

    @property
    def numbering(self) -> PageNumbering:
        """Pages of keys and values."""
        return PageNumbering("kv", "page_table", self.page_tokens.data, "KV pages")

    def with_page(self, tokens: int) -> KvCacheType:
        """The same cache in pages of `tokens` tokens."""
        heads, _, columns = self.sizes
        return KvCacheType(heads, tokens, columns, self.element_type, self.rounding)

    def with_element(self, element: Attribute) -> KvCacheType:
        """The same cache with another element type."""
        heads, tokens, columns = self.sizes
        return KvCacheType(heads, tokens, columns, element, self.rounding)

    def with_rounding(self, rounding: PageRounding | None) -> KvCacheType:
        """The same cache with full pages stored in another way."""
        heads, tokens, columns = self.sizes
        return KvCacheType(heads, tokens, columns, self.element_type, rounding)

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<size, size, size, element (, #sala.page_rounding<...>)?>`."""
        with parser.in_angle_brackets():
            sizes: list[Attribute] = []
            for _ in range(3):
                sizes.append(IntAttr(parse_whole(parser)))
                parser.parse_punctuation(",")
            element, rounding = parser.parse_type(), PageRoundingAttr.none()
            if parser.parse_optional_punctuation(","):
                found = parser.parse_attribute()
                if not isinstance(found, PageRoundingAttr):
                    parser.raise_error(f"expected a page rounding, found {found}")
                rounding = found
            return [element, *sizes, rounding]

    def print_parameters(self, printer: Printer) -> None:
        """Print the sizes, the element type, and the rounding if there is one."""
        with printer.in_angle_brackets():
            for size in self.sizes:
                printer.print_string(f"{size}, ")
            printer.print_attribute(self.element_type)
            if self.rounding is not None:
                printer.print_string(", ")
                printer.print_attribute(self.page_rounding)

    def verify(self) -> None:
        """Also refuse rounded pages that words do not fill, and too few unrounded tokens."""
        super().verify()
        if self.rounding is None:
            return
        _, tokens, columns = self.sizes
        if tokens % self.MULTIPLE or columns % self.MULTIPLE:
            raise VerifyException(
                f"rounded pages have tokens and columns in multiples of {self.MULTIPLE}, not "
                f"{tokens} and {columns}"
            )
        if self.rounding.recent % tokens:
            raise VerifyException(f"recent must be a multiple of {tokens}, the tokens of a page")

    def __init__(
        self,
        kv_heads: int,
        page_tokens: int,
        head_dim: int,
        element_type: Attribute,
        rounding: PageRounding | None = None,
    ):
        sizes = map(IntAttr, (kv_heads, page_tokens, head_dim))
        attribute = PageRoundingAttr.none() if rounding is None else PageRoundingAttr(rounding)
        super().__init__(element_type, *sizes, attribute)


@irdl_attr_definition
class LatentCacheType(StateType):
    """`!sala.latent_cache<page_tokens, latent_dim, rotary_dim, element>`: pages of latents.

    A token has one row, which all heads read: the normalised latent, then its rotary part, if any.
    """

    name = "sala.latent_cache"
    MEMORY: ClassVar[str] = "latent_pages"

    page_tokens: IntAttr
    latent_dim: IntAttr
    rotary_dim: IntAttr

    @property
    def columns(self) -> int:
        """Columns of a row."""
        return self.latent_dim.data + self.rotary_dim.data

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The rows of the tokens."""
        return (StatePart("", "latents", (self.columns,), shared=Shared.ROW),)

    @property
    def numbering(self) -> PageNumbering:
        """The pages of keys and values."""
        return PageNumbering("kv", "page_table", self.page_tokens.data, "KV pages")

    def with_page(self, tokens: int) -> LatentCacheType:
        """The same cache in pages of `tokens` tokens."""
        _, latent, rotary = self.sizes
        return LatentCacheType(tokens, latent, rotary, self.element_type)

    def verify(self) -> None:
        """Refuse sizes that are not positive, but for a rotary part without columns."""
        tokens, latent, rotary = self.sizes
        if tokens <= 0 or latent <= 0 or rotary < 0:
            raise VerifyException(f"sizes of {self.name} must be positive, not {self.sizes}")
        check_element(self.element_type)

    def __init__(self, page_tokens: int, latent_dim: int, rotary_dim: int, element_type: Attribute):
        super().__init__(element_type, *map(IntAttr, (page_tokens, latent_dim, rotary_dim)))


@irdl_attr_definition
class IndexerKeysType(StateType):
    """`!sala.indexer_keys<pool, columns, page_tokens, element>`: keys by which tokens are chosen.

    One row of `columns` for every `pool` tokens from the first one on, in pages of keys and values;
    a pool that is not complete has none.
    """

    name = "sala.indexer_keys"
    MEMORY: ClassVar[str] = "indexer_keys"

    pool: IntAttr
    columns: IntAttr
    page_tokens: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The keys, read along the columns."""
        return (StatePart("", "indexer_keys", (self.columns.data,), self.pool.data),)

    @property
    def numbering(self) -> PageNumbering:
        """The pages of keys and values."""
        return PageNumbering("kv", "page_table", self.page_tokens.data, "KV pages")

    def with_page(self, tokens: int) -> IndexerKeysType:
        """The same keys in pages for `tokens` tokens."""
        return IndexerKeysType(self.pool.data, self.columns.data, tokens, self.element_type)

    def __init__(self, pool: int, columns: int, page_tokens: int, element_type: Attribute):
        super().__init__(element_type, *map(IntAttr, (pool, columns, page_tokens)))

    def verify(self) -> None:
        """Also refuse pools that do not divide a page, and odd rows."""
        super().verify()
        if self.page_tokens.data % self.pool.data:
            raise VerifyException("page_tokens must be a multiple of pool")
        if self.columns.data % 2:
            raise VerifyException("columns of indexer keys must be even")


@irdl_attr_definition
class CompressedKeysType(StateType):
    """`!sala.compressed_keys<kv_heads, kernel_size, kernel_stride, page_tokens, head_dim, type>`.

    Both levels: means of `kernel_size` keys every `kernel_stride` (fine), and of 4 times as many
    every 4 times the stride (coarse).
    """

    name = "sala.compressed_keys"
    MEMORY: ClassVar[str] = "compressed_keys"
    PAGE_BLOCKS: ClassVar[int] = 64
    """Pages of keys and values that a page of compressed keys covers."""
    COARSE: ClassVar[int] = 4
    """Window and stride of a coarse key, in those of a fine one."""
    RUN: ClassVar[int] = 64
    """Keys that a processor reads at a time: they follow each other in memory."""

    kv_heads: IntAttr
    kernel_size: IntAttr
    kernel_stride: IntAttr
    page_tokens: IntAttr
    head_dim: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """Fine and coarse keys; a window is two strides long, so that it ends a stride later."""
        row, stride = (self.kv_heads.data, self.head_dim.data), self.kernel_stride.data
        strides = {"fine": stride, "coarse": self.COARSE * stride}
        return tuple(
            StatePart(name, name, row, stride, skipped=1, run=self.RUN)
            for name, stride in strides.items()
        )

    @property
    def numbering(self) -> PageNumbering:
        """Pages of compressed keys."""
        tokens = self.PAGE_BLOCKS * self.page_tokens.data
        return PageNumbering("compressed", "compressed_table", tokens, "compressed pages")

    def with_page(self, tokens: int) -> CompressedKeysType:
        """The same keys next to pages of keys and values of `tokens` tokens."""
        heads, size, stride, _, columns = self.sizes
        return CompressedKeysType(heads, size, stride, tokens, columns, self.element_type)

    def __init__(
        self,
        kv_heads: int,
        kernel_size: int,
        kernel_stride: int,
        page_tokens: int,
        head_dim: int,
        element_type: Attribute,
    ):
        sizes = (kv_heads, kernel_size, kernel_stride, page_tokens, head_dim)
        super().__init__(element_type, *map(IntAttr, sizes))

    def verify(self) -> None:
        """Also refuse windows that do not overlap blocks in the way that pooling assumes."""
        super().verify()
        if self.kernel_size.data != 2 * self.kernel_stride.data:
            raise VerifyException("kernel_size must be 2 * kernel_stride")
        if self.page_tokens.data % self.kernel_stride.data:
            raise VerifyException("page_tokens must be a multiple of kernel_stride")


@irdl_attr_definition
class RecentKeysType(StateType):
    """`!sala.recent_keys<kv_heads, tokens, head_dim, element>`: keys of the last tokens, by slots.

    The key of token t is in place t % `tokens`; places of tokens that were never there are 0.
    """

    name = "sala.recent_keys"
    MEMORY: ClassVar[str] = "recent_keys"

    kv_heads: IntAttr
    tokens: IntAttr
    head_dim: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The keys of all heads."""
        return (StatePart("", "recent_keys", self.sizes),)

    def __init__(self, kv_heads: int, tokens: int, head_dim: int, element_type: Attribute):
        super().__init__(element_type, IntAttr(kv_heads), IntAttr(tokens), IntAttr(head_dim))


@irdl_attr_definition
class ConvolutionWindowType(StateType):
    """`!sala.convolution_window<tokens, columns, element>`: what a short convolution has to keep.

    The inputs of the last `tokens` tokens, the oldest first; 0 before the first token.
    """

    name = "sala.convolution_window"
    MEMORY: ClassVar[str] = "convolution_windows"
    NARROW: ClassVar[bool] = False

    tokens: IntAttr
    columns: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The inputs of the tokens."""
        return (StatePart("", "", self.sizes),)

    def __init__(self, tokens: int, columns: int, element_type: Attribute):
        super().__init__(element_type, IntAttr(tokens), IntAttr(columns))


@irdl_attr_definition
class OpenPoolType(StateType):
    """`!sala.open_pool<tokens, columns, element>`: rows of a pool of tokens that is not yet whole.

    Pools have `tokens` + 1 tokens. The row of token t is in place t % (tokens + 1), but that of the
    last of a pool is not kept; places of tokens that were never there are 0.
    """

    name = "sala.open_pool"
    MEMORY: ClassVar[str] = "open_pools"
    NARROW: ClassVar[bool] = False

    tokens: IntAttr
    columns: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The rows of the tokens."""
        return (StatePart("", "open_pool", self.sizes),)

    def __init__(self, tokens: int, columns: int, element_type: Attribute):
        super().__init__(element_type, IntAttr(tokens), IntAttr(columns))


@irdl_attr_definition
class TokenWindowType(StateType):
    """`!sala.token_window<tokens, element>`: ids of the last `tokens` tokens, the oldest first.

    They are words of 32 bits whatever the element type is; 0 before the first token.
    """

    name = "sala.token_window"
    MEMORY: ClassVar[str] = "token_windows"
    NARROW: ClassVar[bool] = False

    tokens: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The ids."""
        return (StatePart("", "token_window", self.sizes, words=True),)

    def __init__(self, tokens: int, element_type: Attribute):
        super().__init__(element_type, IntAttr(tokens))


@irdl_attr_definition
class RecurrentStateType(StateType):
    """`!sala.recurrent_state<heads, key_dim, value_dim, element>`: one matrix per head and slot."""

    name = "sala.recurrent_state"
    MEMORY: ClassVar[str] = "recurrent_state"
    NARROW: ClassVar[bool] = False

    heads: IntAttr
    key_dim: IntAttr
    value_dim: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        """The matrices of all heads."""
        return (StatePart("", "recurrent_state", self.sizes),)

    def __init__(self, heads: int, key_dim: int, value_dim: int, element_type: Attribute):
        super().__init__(element_type, IntAttr(heads), IntAttr(key_dim), IntAttr(value_dim))


@irdl_attr_definition
class WeightType(ParametrizedAttribute, TypeAttribute):
    """`!sala.weights<[d0, d1], element, encoding, layout>`; plain and row-major are not printed."""

    name = "sala.weights"

    shape: ArrayAttr[IntAttr]
    element_type: Attribute
    encoding: EncodingAttr
    layout: LayoutAttr

    def __init__(
        self,
        shape: Sequence[int] | ArrayAttr[IntAttr],
        element_type: Attribute,
        encoding: EncodingAttr | None = None,
        layout: LayoutAttr | None = None,
    ):
        if not isinstance(shape, ArrayAttr):
            shape = ArrayAttr([IntAttr(size) for size in shape])
        super().__init__(shape, element_type, encoding or EncodingAttr(), layout or LayoutAttr())

    def get_shape(self) -> tuple[int, ...]:
        """The shape in elements, before any padding by the layout."""
        return tuple(size.data for size in self.shape.data)

    def with_shape(self, shape: Sequence[int]) -> WeightType:
        """The same element type, encoding and layout with another shape."""
        return WeightType(shape, self.element_type, self.encoding, self.layout)

    def with_element(self, element: Attribute) -> WeightType:
        """The same weight with another element type."""
        return WeightType(self.shape, element, self.encoding, self.layout)

    def with_encoding(self, encoding: EncodingAttr) -> WeightType:
        """The same weight in another encoding."""
        return WeightType(self.shape, self.element_type, encoding, self.layout)

    def with_layout(self, layout: LayoutAttr) -> WeightType:
        """The same weight in another layout."""
        return WeightType(self.shape, self.element_type, self.encoding, layout)

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """Parse `<[d0, ...], element (, #sala.encoding<...>)? (, #sala.layout<...>)?>`."""
        encoding, layout = EncodingAttr(), LayoutAttr()
        with parser.in_angle_brackets():
            shape = parser.parse_comma_separated_list(
                parser.Delimiter.SQUARE, lambda: IntAttr(parse_whole(parser))
            )
            parser.parse_punctuation(",")
            element = parser.parse_type()
            while parser.parse_optional_punctuation(","):
                match parser.parse_attribute():
                    case EncodingAttr() as encoding:
                        pass
                    case LayoutAttr() as layout:
                        pass
                    case other:
                        parser.raise_error(f"expected a weight encoding or layout, found {other}")
        return ArrayAttr(shape), element, encoding, layout

    def print_parameters(self, printer: Printer) -> None:
        """Print the shape, the element type, and what differs from plain and row-major."""
        with printer.in_angle_brackets():
            printer.print_string(f"{list(self.get_shape())}, ")
            printer.print_attribute(self.element_type)
            if self.encoding != EncodingAttr():
                printer.print_string(", ")
                printer.print_attribute(self.encoding)
            if self.layout != LayoutAttr():
                printer.print_string(", ")
                printer.print_attribute(self.layout)

    def verify(self) -> None:
        """Refuse a rank other than 1 or 2, empty dimensions, and foreign element types."""
        shape = self.get_shape()
        if len(shape) not in (1, 2) or any(size <= 0 for size in shape):
            raise VerifyException(f"a weight has one or two positive dimensions, not {list(shape)}")
        if len(shape) == 1 and not self.encoding.is_plain:
            raise VerifyException("only a matrix has an integer encoding")
        check_element(self.element_type)
