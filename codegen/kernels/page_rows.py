"""Pages of keys, values and compressed keys as arguments of kernels.

For GPUs K and V are [pages, kv heads, T, D], compressed keys [pages, kv heads, slots, D]. For CPUs
they are packed: K [pages, kv heads, D/p, Tp, p] and V [pages, kv heads, Tp/p, Dp, p] with p =
`Element.pack`; Tp and Dp are block and head size rounded up to 16. Compressed keys are laid out
like K, one run of slots after the other: [pages, kv heads, runs, D/p, run, p]. Pages that are
rounded are words of integers, the same for both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Argument, Arguments, Role
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded, runs_of
from sala_compile.sala_ir.dialect.types import WORD_BITS, CompressedKeysType, KvCacheType

COARSE = 4
"""Window and stride of a coarse key, in those of a fine key."""

COMPRESSED_BLOCKS = 64
"""Blocks that one page of compressed keys covers."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Sizes of a page of keys and values."""

    kv_heads: int
    block_size: int
    head_dim: int
    element: Element

    def pools(self, *, packed: bool, role: Role = Role.INPUT) -> Arguments:
        """The pools of keys and of values, both of the operand `kv`."""
        pack = self.element.pack
        keys: tuple[int, ...] = (self.block_size, self.head_dim)
        values = keys
        if packed:
            keys = (self.head_dim // pack, padded(self.block_size), pack)
            values = (padded(self.block_size) // pack, padded(self.head_dim), pack)
        return tuple(
            Argument(
                f"{part}_pool",
                role,
                self.element,
                ("pages", self.kv_heads, *shape),
                operand="kv",
                part=part,
            )
            for part, shape in (("k", keys), ("v", values))
        )


@dataclass(frozen=True, slots=True)
class RoundedShape:
    """Sizes of a cache whose full pages are rounded; the same layout on every target."""

    kv_heads: int
    page_tokens: int
    head_dim: int
    element: Element
    key_bits: int
    value_bits: int
    recent: int

    @property
    def key_count(self) -> int:
        """Columns of a token in a word of keys."""
        return WORD_BITS // self.key_bits

    @property
    def value_count(self) -> int:
        """Tokens of a column in a word of values."""
        return WORD_BITS // self.value_bits

    def pools(self, role: Role = Role.INPUT) -> Arguments:
        """The pages, named `k_words`, `v_words` and as their parts, and the recent tokens."""
        tokens, columns, element = self.page_tokens, self.head_dim, self.element
        shapes: tuple[tuple[str, str, str, tuple[int, ...]], ...] = (
            ("k_words", "k", "i32", (columns // self.key_count, tokens)),
            ("k_scale", "k_scale", element, (columns,)),
            ("k_minimum", "k_minimum", element, (columns,)),
            ("v_words", "v", "i32", (tokens // self.value_count, columns)),
            ("v_scale", "v_scale", element, (tokens,)),
            ("v_minimum", "v_minimum", element, (tokens,)),
            ("recent_k", "recent_k", element, (self.recent, columns)),
            ("recent_v", "recent_v", element, (self.recent, columns)),
        )
        return tuple(
            Argument(
                name,
                role,
                kind,
                ("recent_slots" if name.startswith("recent") else "pages", self.kv_heads, *shape),
                operand="kv",
                part=part,
            )
            for name, part, kind, shape in shapes
        )


def rounded_shape(kind: KvCacheType, element: Element) -> RoundedShape:
    """The shape of a cache whose full pages are rounded."""
    rounding = kind.rounding
    assert rounding is not None, "the verifier has looked"
    heads, tokens, columns = kind.sizes
    bits = rounding.key_bits, rounding.value_bits
    return RoundedShape(heads, tokens, columns, element, *bits, rounding.recent)


@dataclass(frozen=True, slots=True)
class CompressedLevel:
    """One level of compressed keys: window j is the mean of `size` tokens from j * `stride` on.

    It is in slot j + 1, `slots` to a page: in the page of the block where it ends.
    """

    name: str
    size: int
    stride: int
    slots: int

    @property
    def runs(self) -> int:
        """Runs of slots of a page."""
        return runs_of(self.slots, CompressedKeysType.RUN)[0]

    @property
    def run(self) -> int:
        """Slots of a run, which are together in the memory of a processor."""
        return runs_of(self.slots, CompressedKeysType.RUN)[1]


def compressed_levels(
    block_size: int, kernel_stride: int
) -> tuple[CompressedLevel, CompressedLevel]:
    """The fine and the coarse level; windows are two strides long."""
    ratio = block_size // kernel_stride
    fine, coarse = (
        CompressedLevel(
            name,
            2 * factor * kernel_stride,
            factor * kernel_stride,
            COMPRESSED_BLOCKS * ratio // factor,
        )
        for name, factor in (("fine", 1), ("coarse", COARSE))
    )
    return fine, coarse


def compressed_pools(
    levels: Iterable[CompressedLevel],
    kv_heads: int,
    head_dim: int,
    element: Element,
    *,
    packed: bool,
    role: Role = Role.INPUT,
) -> Arguments:
    """The pools of the levels, named after them, all of the operand `ck`."""
    pack = element.pack
    return tuple(
        Argument(
            level.name,
            role,
            element,
            (
                "compressed_pages",
                kv_heads,
                *(
                    (level.runs, head_dim // pack, level.run, pack)
                    if packed
                    else (level.slots, head_dim)
                ),
            ),
            operand="ck",
            part=level.name,
        )
        for level in levels
    )
