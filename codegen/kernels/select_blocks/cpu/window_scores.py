"""The scores of compressed keys: normalisers over the coarse keys, then P of the fine keys."""

from collections.abc import Callable
from dataclasses import dataclass
from math import e, log2

from sala_compile.codegen.kernels.select_blocks.cpu.key_products import HeadProducts, KeyProducts
from sala_compile.codegen.kernels.select_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    lanes,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import complete_windows
from sala_compile.codegen.kernels.tir.tile import cover_rows, live_lanes
from sala_compile.codegen.layouts.padding import padded

F32 = Element.F32

MASKED = -1e30
"""The logit of a key that is not visible: its exponential is 0."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one query: all heads of a group at a position. Logits have the base 2.

    The float workspace of a worker holds the heads' maxima [rows, 16], rounded down to whole
    numbers, their sums [rows, 16], where AMX is used its products, and the scores of the fine
    keys by slot.
    """

    token: Expr
    position: Expr
    q: Tensor
    products: KeyProducts

    @property
    def spec(self) -> Spec:
        """Sizes."""
        return self.products.spec

    @property
    def schedule(self) -> Schedule:
        """Tiles."""
        return self.products.schedule

    @property
    def sums_at(self) -> int:
        """The place of the sums in the workspace."""
        return self.schedule.rows(self.spec) * LANES

    @property
    def scores_at(self) -> int:
        """The place of the score of slot 0."""
        return self.schedule.heads_floats(self.spec)

    def _floats(self, place: Expr) -> Expr:
        return self.products.work[self.products.worker, lanes(place)]

    def _keep(self, place: Expr, value: Expr) -> None:
        self.products.work[self.products.worker, lanes(place)] = value

    def load_queries(self) -> None:
        """Emit the rounding of the queries; scratch memory of floats takes the scale with them."""
        spec, size, product = self.spec, self.spec.head_dim, self.schedule.product(self.spec)
        factor = self._scale if product.in_floats else 1.0
        target = (self.products.queries, self.products.worker)
        with loop(spec.group) as row:
            start = let(spec.q_start + (self.products.head * spec.group + row) * size)
            for column, live in live_lanes(size):
                query = F32.load(self.q, self.token, start + column, count=live)
                place = row * padded(size) + column
                product.keep(*target, place, value=query, factor=factor)

    @property
    def _scale(self) -> float:
        return self.spec.scale * log2(e)

    def _logit(self, product: Expr) -> Expr:
        scaled = self.schedule.product(self.spec).in_floats
        return product if scaled else product * splat(self._scale)

    def normalise(self, coarse: Tensor) -> None:
        """Emit m, a whole number near the largest logit, and 1 / sum of 2^(logit - m), per head.

        Lane by lane over all tiles of coarse keys, folded at the end. m is whole so that a larger
        one scales a sum without rounding it. Without a visible key every score becomes 0.
        """
        spec = self.spec
        _, level = spec.levels
        visible = let(complete_windows(level.size, level.stride, self.position + 1))
        with loop(spec.group) as row:
            self._keep(row * LANES, splat(MASKED))
            self._keep(self.sums_at + row * LANES, splat(0.0))

        vectors = self.schedule.vectors(spec, level)

        def tile(first: Expr, products: Callable[[Expr, int], HeadProducts]) -> None:
            def rows(top: Expr, height: int) -> None:
                found = products(top, height)
                for i in range(height):
                    logits = [
                        let(_between(self._logit(found[i, j]), first + j * LANES, visible))
                        for j in range(vectors)
                    ]
                    self._add_logits(top + i, logits)

            cover_rows(spec.group, self.schedule.height(spec), rows)

        self.products.tiles(level, coarse, visible + 1, tile)
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
        visible = let(complete_windows(level.size, level.stride, self.position + 1))

        vectors = self.schedule.vectors(spec, level)

        def tile(first: Expr, products: Callable[[Expr, int], HeadProducts]) -> None:
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

        self.products.tiles(level, fine, slots, tile)


def _between(values: Expr, slot: Expr, visible: Expr, *, outside: float = MASKED) -> Expr:
    """`values` of the 16 keys from slot `slot` on that are visible: slots 1 to `visible`."""
    other = splat(outside)
    return vector.first_lanes(
        other, 1 - slot, vector.first_lanes(values, visible + 1 - slot, other)
    )
