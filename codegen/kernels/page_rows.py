"""Pages of keys, values and compressed keys as the kernels see them.

K [pages, kv heads, D/p, Tp, p] and V [pages, kv heads, Tp/p, Dp, p] with p = `Element.pack`; Tp and
Dp are block and head size rounded up to 16. Compressed keys are laid out like K.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    KernelBuilder,
    Tensor,
    lanes,
    let,
    long,
    loop,
    scratch,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes
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

    def declare_keys(self, builder: KernelBuilder) -> Tensor:
        """Declare the pool of keys as the next parameter."""
        pack = self.element.pack
        shape = (self.kv_heads, self.head_dim // pack, padded(self.block_size), pack)
        return builder.tensor("k_pool", ("pages", *shape), self.element.dtype)

    def declare_values(self, builder: KernelBuilder) -> Tensor:
        """Declare the pool of values as the next parameter."""
        pack = self.element.pack
        shape = (self.kv_heads, padded(self.block_size) // pack, padded(self.head_dim), pack)
        return builder.tensor("v_pool", ("pages", *shape), self.element.dtype)


@dataclass(frozen=True, slots=True)
class CompressedLevel:
    """One level of compressed keys: window j is the mean of `size` tokens from j * `stride` on.

    It stands in slot j + 1, `slots` to a page: in the page of the block where it ends.
    """

    name: str
    size: int
    stride: int
    slots: int

    def declare(
        self, builder: KernelBuilder, *, kv_heads: int, head_dim: int, element: Element
    ) -> Tensor:
        """Declare the pool of this level as the next parameter."""
        shape = (kv_heads, head_dim // element.pack, self.slots, element.pack)
        return builder.tensor(f"{self.name}_pool", ("compressed_pages", *shape), element.dtype)

    def complete(self, length: Expr) -> Expr:
        """How many windows end within the first `length` tokens."""
        return T.max((length - (self.size - self.stride)) // self.stride, T.int32(0))


def compressed_levels(block_size: int, kernel_stride: int) -> tuple[CompressedLevel, ...]:
    """The fine and the coarse level; windows are two strides long."""
    ratio = block_size // kernel_stride
    return tuple(
        CompressedLevel(
            name,
            2 * factor * kernel_stride,
            factor * kernel_stride,
            COMPRESSED_BLOCKS * ratio // factor,
        )
        for name, factor in (("fine", 1), ("coarse", COARSE))
    )


def page_of(table: Tensor, row: Expr, index: Expr) -> Expr:
    """The page (int64: offsets into pools pass 2^31) in a table of pages."""
    return let(long(table[row, index]))


def write_key(
    element: Element, pool: Tensor, page: Expr, head: Expr, slot: Expr, key: Tensor
) -> None:
    """Emit the rounding of the floats `key` [Dp] and their write into one slot of a page."""
    head_dim = int(pool.buffer.shape[2]) * element.pack
    rounded = scratch((padded(head_dim),), element.dtype)
    for column, _ in live_lanes(head_dim):
        element.store(rounded, column, value=key[lanes(column)])
    with loop(head_dim // element.pack) as d:
        if element.pack == 1:
            pool[page, head, d, slot, 0] = rounded[d]
        else:
            pool[page, head, d, slot, lanes(0, 2)] = rounded[lanes(d * 2, 2)]
