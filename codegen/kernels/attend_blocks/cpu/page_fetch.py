"""Prefetching of pages: the processor's own prefetcher stops at every 4 KiB."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from sala_compile.codegen.kernels.tir.builder import Expr, Tensor, let, prefetch_far
from sala_compile.codegen.kernels.tir.element import Element

LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True, slots=True)
class PageFetch:
    """Brings one head of a page into the second-level cache while other products run.

    Its lines are dealt to the `packs` packs of each of `tiles` register tiles.
    """

    pool: Tensor
    element: Element
    page: Expr
    head: Expr
    tiles: int
    packs: int

    def during(self, tile: Expr) -> Callable[[Expr], None]:
        """What to emit with every pack of tile number `tile`."""
        per_line = LINE // self.element.bytes
        lines = -(-prod(int(extent) for extent in self.pool.buffer.shape[2:]) // per_line)
        share = -(-lines // (self.tiles * self.packs))
        first = let(tile * (self.packs * share))

        def emit(pack: Expr) -> None:
            for line in range(share):
                place = (first + pack * share + line) * per_line
                prefetch_far(self.pool, self.page, self.head, 0, 0, place)

        return emit
