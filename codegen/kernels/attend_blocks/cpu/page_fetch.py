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
    """Brings one head of a block into the second-level cache while other products run.

    Its lines are distributed over the `packs` packs of each of `tiles` register tiles. A page has
    `parts` blocks; the block begins at `start` in the extent of the tokens: the first one of values
    [tokens / p, columns, p], the second one of keys [columns / p, tokens, p].
    """

    pool: Tensor
    element: Element
    page: Expr
    head: Expr
    tiles: int
    packs: int
    start: Expr
    parts: int
    by_columns: bool

    def during(self, tile: Expr) -> Callable[[Expr], None]:
        """What to emit with every pack of tile number `tile`."""
        per_line = LINE // self.element.bytes
        extents = [int(extent) for extent in self.pool.buffer.shape[2:]]
        lines = -(-prod(extents) // self.parts // per_line)
        share = -(-lines // (self.tiles * self.packs))
        first = let(tile * (self.packs * share))

        def emit(pack: Expr) -> None:
            for line in range(share):
                place = (first + pack * share + line) * per_line
                prefetch_far(self.pool, self.page, self.head, 0, 0, self._flat(place, extents))

        return emit

    def _flat(self, place: Expr, extents: list[int]) -> Expr:
        """Where an element of the block is within the head of a page."""
        if self.parts == 1:
            return place
        inner, pack = extents[1:]
        if self.by_columns:
            row = inner * pack // self.parts
            return place // row * (inner * pack) + self.start * pack + place % row
        return self.start * (inner * pack) + place
