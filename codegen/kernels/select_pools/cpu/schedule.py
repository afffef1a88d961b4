"""Tiles of the choice of pools on a CPU, and the memory of a worker."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.select_pools.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded

PART_RECORDS = 8
"""Choices of a part of the past, each of one query, that a worker has room for."""
LEAST_PART = 2048
"""Pools of a part, at least: the past of a query is divided where there are few queries."""
TILES_PER_WORKER = 4
"""Items of work for every worker, at least, where pasts can be divided."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Up to `row_tile` heads x `column_vectors` vectors of 16 keys are scored at a time.

    `accumulators` vectors of sums at most. A tile of queries has about `query_rows` rows (token,
    head) and goes through the past `segment` pools at a time. `widened`: see `Product`. None of
    this changes a bit of the result.
    """

    row_tile: int = 8
    column_vectors: int = 2
    accumulators: int = 16
    query_rows: int = 64
    segment: int = 1024
    widened: bool = False

    def product(self, spec: Spec) -> Product:
        """How queries are multiplied by the keys."""
        return Product(spec.element, self.widened)

    def height(self, spec: Spec) -> int:
        """Heads of a tile."""
        return min(self.row_tile, spec.heads)

    def vectors(self, spec: Spec) -> int:
        """Vectors of keys of a tile: whole tiles fill a page."""
        page = padded(spec.entries) // LANES
        most = max(1, min(self.column_vectors, self.accumulators // self.height(spec)))
        return max(n for n in range(1, most + 1) if page % n == 0)

    def queries(self, spec: Spec) -> int:
        """Tokens that are taken at a time: a power of two, at most 16."""
        most = min(LANES, max(1, self.query_rows // spec.heads))
        return 1 << most.bit_length() - 1

    def pages(self, spec: Spec) -> int:
        """Pages of keys of a segment."""
        return max(1, self.segment // spec.entries)

    def room(self, spec: Spec) -> int:
        """Candidates of a query that are kept until the best of them are chosen, whole vectors."""
        return padded(spec.count + max(self.pages(spec) * spec.entries, spec.count))

    def row(self, spec: Spec) -> int:
        """Integers of the ranks, and of the pools, of the candidates of a query."""
        return self.room(spec) + LANES

    def candidates(self, spec: Spec) -> int:
        """Integers of a worker: ranks and pools of the candidates of a tile of queries."""
        return 2 * self.queries(spec) * self.row(spec)

    def rows(self, spec: Spec) -> int:
        """Elements of the queries of a tile."""
        return self.queries(spec) * spec.heads * padded(spec.columns)

    def record(self, spec: Spec) -> int:
        """Integers of a choice of a part: how many, their ranks, their pools."""
        return LANES + 2 * padded(spec.count)
