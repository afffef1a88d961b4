"""Products of the queries of a group with compressed keys, by vectors or by AMX tiles."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sala_compile.codegen.kernels.page_rows import CompressedLevel
from sala_compile.codegen.kernels.select_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    lanes,
    let,
    loop,
    prefetch_far,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import slot_of
from sala_compile.codegen.kernels.tir.tile import zero_tile
from sala_compile.codegen.kernels.tir.tiles import DEPTH, SUMS, TILE, WIDE, call, row_bytes
from sala_compile.codegen.layouts.padding import padded

Place = tuple[tuple[Expr, Expr, Expr], Expr]
"""Page, head and run of compressed keys, and a slot in the run."""


class HeadProducts(Protocol):
    """Products of some heads with some vectors of keys."""

    def __getitem__(self, place: tuple[int, int]) -> Expr:
        """Those of head i with vector j."""
        ...


@dataclass(frozen=True, slots=True)
class _Stored:
    """Products that were written to memory."""

    read: Callable[[int, int], Expr]

    def __getitem__(self, place: tuple[int, int]) -> Expr:
        return self.read(*place)


@dataclass(frozen=True, slots=True)
class KeyProducts:
    """The products of one query: all heads of a group with the keys of a sequence.

    `queries` and `work` have a row for each worker; products of tiles take `work` from `stored_at`
    on. `table_row` is the row of the sequence in the table of compressed pages.
    """

    spec: Spec
    schedule: Schedule
    worker: Expr
    head: Expr
    table: Tensor
    table_row: Expr
    queries: Tensor
    work: Tensor
    stored_at: int

    def tiles(
        self, level: CompressedLevel, pool: Tensor, slots: Expr, body: Callable[..., None]
    ) -> None:
        """Emit `body(first slot, products)` for tiles that cover `slots` slots of a level.

        `products(top, height)[i, j]` is q . k of a head with 16 keys of the tile.
        """
        width = self.schedule.vectors(self.spec, level) * LANES
        with loop((slots + (width - 1)) // width) as turn:
            first = let(turn * width)
            here = self._place(level, first)
            ahead = self._place(level, let(T.min(first + level.run, slots - 1)))
            body(first, self._products(level, pool, here, ahead))

    def _products(
        self, level: CompressedLevel, pool: Tensor, here: Place, ahead: Place
    ) -> Callable[[Expr, int], HeadProducts]:
        """Products of some heads with the keys at `here`; those `ahead` are prefetched."""
        spec, element = self.spec, self.spec.element
        if self.schedule.uses_tiles(spec):
            return self._tile_products(level, pool, here, ahead)
        vectors, (run, left) = self.schedule.vectors(spec, level), here

        def products(top: Expr, height: int) -> HeadProducts:
            found = zero_tile(height, vectors)
            self.schedule.product(spec).accumulate(
                found,
                spec.head_dim // element.pack,
                self.queries,
                lambda i: (self.worker, (top + i) * padded(spec.head_dim)),
                lambda j, d: element.operand(pool, *run, d, left + j * LANES, 0),
                lambda d: self._fetch(level, pool, ahead, left, d, top),
            )
            return found

        return products

    def _tile_products(
        self, level: CompressedLevel, pool: Tensor, here: Place, ahead: Place
    ) -> Callable[[Expr, int], HeadProducts]:
        """Emit the products of all heads by AMX into the workspace: [4][heads][16]."""
        run, left = here
        lines = left // LANES * (self.spec.head_dim // 2)
        pitch = row_bytes(padded(self.spec.head_dim))
        call("zero")
        with loop(self.spec.head_dim // DEPTH) as step:
            query = self.queries.address(self.worker, step * DEPTH)
            keys = pool.address(*run, step * TILE, left, 0)
            call("wide_step", query, pitch, keys, row_bytes(2 * level.run))
            with loop(TILE * WIDE) as line:
                self._fetch_line(level, pool, ahead, lines + step * (TILE * WIDE) + line)
        call("store", self.work.address(self.worker, self.stored_at))

        def products(top: Expr, height: int) -> HeadProducts:
            return _Stored(
                lambda i, j: self.work[self.worker, lanes(self._product_place(top + i, j))]
            )

        return products

    def _product_place(self, row: Expr, column: int) -> Expr:
        return self.stored_at + column * SUMS + row * LANES

    def _place(self, level: CompressedLevel, slot: Expr) -> Place:
        return slot_of(level, self.table, self.table_row, self.head, slot)

    def _fetch(
        self, level: CompressedLevel, pool: Tensor, ahead: Place, left: Expr, pack: Expr, top: Expr
    ) -> None:
        """Emit the prefetch of a share of the next run's keys, while slot `left` of this one runs.

        The processor's own prefetcher stops at 4 KiB. The tiles of a run and the row tiles of a
        product each fetch the lines that follow those of the one before.
        """
        vectors, height = self.schedule.vectors(self.spec, level), self.schedule.height(self.spec)
        share = -(-vectors * height // self.schedule.rows(self.spec))
        packs = self.spec.head_dim // self.spec.element.pack
        first = left // LANES + top // height * share
        for line in range(share):
            self._fetch_line(level, pool, ahead, (first + line) * packs + pack)

    def _fetch_line(self, level: CompressedLevel, pool: Tensor, ahead: Place, line: Expr) -> None:
        """Emit the prefetch of a line of a run: 16 packs."""
        place = line * LANES
        prefetch_far(pool, *ahead[0], place // level.run, place % level.run, 0)
