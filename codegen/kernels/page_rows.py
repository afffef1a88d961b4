"""Pages of keys, values and compressed keys as arguments of kernels.

For GPUs K and V are [pages, kv heads, T, D], compressed keys [pages, kv heads, slots, D]. For CPUs
they are packed: K [pages, kv heads, D/p, Tp, p] and V [pages, kv heads, Tp/p, Dp, p] with p =
`Element.pack`; Tp and Dp are block and head size rounded up to 16. Compressed keys are laid out
like K.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Argument, Arguments, Role
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded

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
class CompressedLevel:
    """One level of compressed keys: window j is the mean of `size` tokens from j * `stride` on.

    It is in slot j + 1, `slots` to a page: in the page of the block where it ends.
    """

    name: str
    size: int
    stride: int
    slots: int


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
                *((head_dim // pack, level.slots, pack) if packed else (level.slots, head_dim)),
            ),
            operand="ck",
            part=level.name,
        )
        for level in levels
    )
