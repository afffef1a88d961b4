"""Prefetching of blocks: the processor's own prefetcher stops where what it follows ends."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import QueryRows
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    address_of,
    long,
    prefetch_at,
)
from sala_compile.codegen.kernels.tir.ir import T

PACK_BYTES = 4
"""Bytes of a pack of any element; a vector of packs is a cache line."""


@dataclass(frozen=True, slots=True)
class PageFetch:
    """Brings a block that is read next into a cache, line by line in the order of memory.

    `start` is its address; it has `columns` packs of each row of `pitch` packs.
    """

    start: Expr
    columns: int
    pitch: int

    def lines(self, first: Expr, count: int, *, far: bool) -> None:
        """Emit the fetch of `count` lines from the `first` of the block on.

        `far`: into the second level of the caches, otherwise into the first.
        """
        whole = self.columns == self.pitch
        for line in range(count):
            place = (first + line) * LANES
            if not whole:
                place = place // self.columns * self.pitch + place % self.columns
            prefetch_at(self.start + long(place) * PACK_BYTES, far=far)


def keys_of(work: QueryRows, page: Expr, first: Expr) -> Expr:
    """The address of the keys of the block that begins at position `first`."""
    if work.spec.is_rounded:
        return address_of(work.tensors.k_words, page, work.head, 0, inside(work, first))
    return address_of(work.tensors.k_pool, page, work.head, 0, inside(work, first), 0)


def values_of(work: QueryRows, page: Expr, first: Expr) -> Expr:
    """The address of its values."""
    if work.spec.is_rounded:
        row = inside(work, first) // work.spec.rounded.value_count
        return address_of(work.tensors.v_words, page, work.head, row, 0)
    row = inside(work, first) // work.spec.element.pack
    return address_of(work.tensors.v_pool, page, work.head, row, 0, 0)


def inside(work: QueryRows, first: Expr) -> Expr:
    """The token of its page at which a block begins whose first position is `first`."""
    return T.int32(0) if work.spec.page_blocks == 1 else first % work.spec.page_tokens
