"""The scores of the pools of a page, as integers in their order."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.select_pools.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_pools.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensors,
    held,
    let,
    loop,
    prefetch_far,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.threshold import LOWEST, MAGNITUDE_BITS, integers
from sala_compile.codegen.kernels.tir.tile import cover_rows, live_lanes, zero_tile
from sala_compile.codegen.layouts.padding import padded

MAGNITUDE = 2**MAGNITUDE_BITS - 1
"""The bits of a float without its sign."""


@dataclass(frozen=True, slots=True)
class IndexerQueries:
    """The rows (token, head) of the `count` tokens from `token` on, in the memory of a worker."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    token: Expr
    count: Expr

    def load(self) -> None:
        """Emit the rounded queries and the factors of the heads: weight times scale."""
        spec, tensors = self.spec, self.tensors
        product = self.schedule.product(spec)
        with loop(self.count) as query, loop(spec.heads) as head:
            token, row = held(self.token + query), held(query * spec.heads + head)
            start = held(spec.q_start + head * spec.columns)
            for column, live in live_lanes(spec.columns):
                value = Element.F32.load(tensors.q, token, start + column, count=live)
                place = row * padded(spec.columns) + column
                product.keep(tensors.queries, self.worker, place, value=value)
            if spec.is_weighted:
                weight = tensors.weights[token, spec.weights_start + head]
                tensors.factors[self.worker, row] = weight * T.float32(spec.scale)

    def score(
        self, query: Expr, page: Expr, ahead: Expr, vectors: Expr, body: Callable[..., None]
    ) -> None:
        """Emit `body(first entry, ranks)` for the first `vectors` vectors of 16 keys of a page.

        Heads are added in their order, products along the columns. Lines of the page `ahead` are
        fetched meanwhile.
        """
        spec, width = self.spec, self.schedule.vectors(self.spec)
        with loop((vectors + (width - 1)) // width) as turn:
            left = held(turn * (width * LANES))
            sums = registers(width).fill(width)

            def rows(top: Expr, height: int) -> None:
                self._add_heads(sums, query, page, ahead, left, top, height)

            cover_rows(spec.heads, self.schedule.height(spec), rows)
            for j in range(width):
                body(held(left + j * LANES), _ranks(sums[j]))

    def _add_heads(
        self, sums: Expr, query: Expr, page: Expr, ahead: Expr, left: Expr, top: Expr, height: int
    ) -> None:
        """Emit the addition of some heads to the scores of a tile of keys."""
        spec, schedule, tensors = self.spec, self.schedule, self.tensors
        width, pitch = schedule.vectors(spec), padded(spec.columns)
        first = held(query * spec.heads + top)
        found = zero_tile(height, width)
        turns = -(-spec.heads // schedule.height(spec))
        share = -(-width // turns)

        def fetch(d: Expr) -> None:
            for line in range(share):
                place = left + (top // schedule.height(spec) * share + line) * LANES
                prefetch_far(tensors.pool, ahead, d, place, 0)

        schedule.product(spec).accumulate(
            found,
            spec.columns // spec.element.pack,
            tensors.queries,
            lambda i: (self.worker, (first + i) * pitch),
            lambda j, d: spec.element.operand(tensors.pool, page, d, left + j * LANES, 0),
            fetch,
        )
        for i in range(height):
            weight = T.float32(spec.scale)
            if spec.is_weighted:
                weight = tensors.factors[self.worker, first + i]
            factor = let(splat(weight))
            for j in range(width):
                positive = vector.maximum(found[i, j], splat(0.0))
                sums[j] = vector.fma(positive, factor, sums[j])


def _ranks(scores: Expr) -> Expr:
    """Integers in the order of 16 floats, of which -0 and 0 are equal; none is `LOWEST`."""
    bits = let(T.reinterpret(scores, dtype=f"int32x{LANES}"))
    magnitude = let(bits & integers(MAGNITUDE))
    return let(T.Select(bits < integers(0), integers(0) - magnitude, magnitude))


def masked(ranks: Expr, live: Expr) -> Expr:
    """The ranks of the first `live` lanes; `LOWEST` in the others."""
    lane = T.ramp(T.int32(0), 1, LANES)
    return let(T.Select(lane < splat(T.Cast("int32", live)), ranks, integers(LOWEST)))
