"""The scores of compressed keys: normalisers over the coarse keys, then P of the fine keys."""

from collections.abc import Callable
from dataclasses import dataclass
from math import e, log2

from codegen.kernels.operands import padded
from codegen.kernels.pages import CompressedLevel, page_of
from codegen.kernels.select_blocks.spec import Schedule, Spec
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    lanes,
    let,
    loop,
    prefetch_far,
    registers,
    splat,
)
from codegen.kernels.tir.element import Element
from codegen.kernels.tir.ir import T
from codegen.kernels.tir.tile import Tile, cover_rows, live_lanes, zero_tile

F32 = Element.F32

MASKED = -1e30
"""The logit of a key that is not visible: its exponential is 0."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one query: all heads of a group at a position. Logits have the base 2.

    The float workspace of a worker holds the heads' maxima [rows, 16], rounded down to whole
    numbers, their sums [rows, 16], and the scores of the fine keys by slot.
    """

    spec: Spec
    schedule: Schedule
    worker: Expr
    token: Expr
    head: Expr
    position: Expr
    table: Tensor
    table_row: Expr
    q: Tensor
    queries: Tensor
    work: Tensor

    @property
    def sums_at(self) -> int:
        """The place of the sums in the workspace."""
        return self.schedule.rows(self.spec) * LANES

    @property
    def scores_at(self) -> int:
        """The place of the score of slot 0."""
        return self.schedule.heads_floats(self.spec)

    def _floats(self, place: Expr) -> Expr:
        return self.work[self.worker, lanes(place)]

    def _keep(self, place: Expr, value: Expr) -> None:
        self.work[self.worker, lanes(place)] = value

    def load_queries(self) -> None:
        """Emit the rounding of the queries; scratch memory of floats takes the scale with them."""
        spec, size, product = self.spec, self.spec.head_dim, self.schedule.product(self.spec)
        factor = self._scale if product.in_floats else 1.0
        with loop(spec.group) as row:
            start = let(spec.q_start + (self.head * spec.group + row) * size)
            for column, live in live_lanes(size):
                query = F32.load(self.q, self.token, start + column, count=live)
                place = row * padded(size) + column
                product.keep(self.queries, self.worker, place, value=query, factor=factor)

    @property
    def _scale(self) -> float:
        return self.spec.scale * log2(e)

    def _logit(self, product: Expr) -> Expr:
        scaled = self.schedule.product(self.spec).in_floats
        return product if scaled else product * splat(self._scale)

    def _tiles(
        self, level: CompressedLevel, pool: Tensor, slots: Expr, body: Callable[..., None]
    ) -> None:
        """Emit `body(first slot, products)` for tiles that cover `slots` slots of a level.

        `products(top, height)` emits q . k of some heads with the keys of the tile.
        """
        spec, element = self.spec, self.spec.element
        vectors = self.schedule.vectors(spec, level)
        width = vectors * LANES
        with loop((slots + (width - 1)) // width) as turn:
            first = let(turn * width)
            page, left = self._place(level, first)
            ahead = self._place(level, let(T.min(first + width, slots - 1)))

            def products(top: Expr, height: int) -> Tile:
                found = zero_tile(height, vectors)
                self.schedule.product(spec).accumulate(
                    found,
                    spec.head_dim // element.pack,
                    self.queries,
                    lambda i: (self.worker, (top + i) * padded(spec.head_dim)),
                    lambda j, d: element.operand(pool, page, self.head, d, left + j * LANES, 0),
                    lambda d: self._fetch(pool, ahead, d, top, vectors),
                )
                return found

            body(first, products)

    def _place(self, level: CompressedLevel, slot: Expr) -> tuple[Expr, Expr]:
        """Page and place in the page of a slot of the sequence."""
        page = page_of(self.table, self.table_row, slot // level.slots)
        return page, let(slot % level.slots)

    def _fetch(
        self, pool: Tensor, place: tuple[Expr, Expr], pack: Expr, top: Expr, vectors: int
    ) -> None:
        """Emit the prefetch of a share of the next tile's keys: a vector of packs is a line.

        The row tiles of the running product deal the vectors out among themselves.
        """
        page, left = place
        height = self.schedule.height(self.spec)
        share = -(-vectors * height // self.schedule.rows(self.spec))
        first = top // height * share
        for line in range(share):
            slot = left + (first + line) * LANES
            prefetch_far(pool, page, self.head, pack, slot, 0)

    def normalise(self, coarse: Tensor) -> None:
        """Emit m, a whole number near the largest logit, and 1 / sum of 2^(logit - m), per head.

        Lane by lane over all tiles of coarse keys, folded at the end. m is whole so that a larger
        one scales a sum without rounding it. Without a visible key every score becomes 0.
        """
        spec = self.spec
        _, level = spec.levels
        visible = let(level.complete(self.position + 1))
        with loop(spec.group) as row:
            self._keep(row * LANES, splat(MASKED))
            self._keep(self.sums_at + row * LANES, splat(0.0))

        def tile(first: Expr, products: Callable[[Expr, int], Tile]) -> None:
            def rows(top: Expr, height: int) -> None:
                found = products(top, height)
                for i in range(height):
                    for j in range(found.vectors):
                        logit = _between(self._logit(found[i, j]), first + j * LANES, visible)
                        found[i, j] = logit
                    self._add_logits(top + i, [found[i, j] for j in range(found.vectors)])

            cover_rows(spec.group, self.schedule.height(spec), rows)

        self._tiles(level, coarse, visible + 1, tile)
        with loop(spec.group) as row:
            maxima = let(self._floats(row * LANES))
            largest = let(vector.largest(maxima))
            sums = vector.scaled(self._floats(self.sums_at + row * LANES), maxima - splat(largest))
            total = let(vector.total(sums))
            inverse = T.Select(visible > 0, T.float32(1.0) / total, T.float32(0.0))
            self._keep(self.sums_at + row * LANES, splat(inverse))
            self._keep(row * LANES, splat(T.Select(visible > 0, largest, T.float32(-MASKED))))

    def _add_logits(self, row: Expr, logits: list[Expr]) -> None:
        before = let(self._floats(row * LANES))
        largest = registers(1)
        largest[0] = before
        for logit in logits:
            largest[0] = vector.maximum(largest[0], logit)
        now = let(vector.floor(largest[0]))
        total = vector.scaled(self._floats(self.sums_at + row * LANES), before - now)
        for logit in logits:
            total = let(total + vector.exp2(logit - now))
        self._keep(row * LANES, now)
        self._keep(self.sums_at + row * LANES, total)

    def score(self, fine: Tensor, slots: Expr) -> None:
        """Emit P of the fine keys in the first `slots` slots."""
        spec = self.spec
        level, _ = spec.levels
        visible = let(level.complete(self.position + 1))

        def tile(first: Expr, products: Callable[[Expr, int], Tile]) -> None:
            vectors = self.schedule.vectors(spec, level)
            sums = registers(vectors).fill(vectors)

            def rows(top: Expr, height: int) -> None:
                found = products(top, height)
                for i in range(height):
                    largest = let(self._floats((top + i) * LANES))
                    inverse = let(self._floats(self.sums_at + (top + i) * LANES))
                    for j in range(vectors):
                        power = vector.exp2(self._logit(found[i, j]) - largest)
                        sums[j] = vector.fma(power, inverse, sums[j])

            cover_rows(spec.group, self.schedule.height(spec), rows)
            for j in range(vectors):
                place = first + j * LANES
                score = _between(sums[j], place, visible, outside=0.0)
                self._keep(self.scores_at + place, score)

        self._tiles(level, fine, slots, tile)


def _between(values: Expr, slot: Expr, visible: Expr, *, outside: float = MASKED) -> Expr:
    """`values` of the 16 keys from slot `slot` on that are visible: slots 1 to `visible`."""
    other = splat(outside)
    return vector.first_lanes(
        other, 1 - slot, vector.first_lanes(values, visible + 1 - slot, other)
    )
