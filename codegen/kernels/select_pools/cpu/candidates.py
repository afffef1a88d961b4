"""The best pools of a query so far: candidates that come in order, and the choice among them."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.select_pools.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_pools.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    Tensors,
    held,
    lanes,
    let,
    loop,
    scratch,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.threshold import (
    LOWEST,
    count_where,
    integers,
    read_from,
    threshold,
)

NO_POOL = -1
"""What fills the entries of a selection that are not used."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Ranks and pools of the candidates of the queries of a tile, pools ascending.

    `numbers` says how many a query has; only what ranks above its `floors` can be among the best.
    """

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    numbers: Tensor
    floors: Tensor

    def _ranks(self, query: Expr) -> Expr:
        """Where the ranks of a query begin in the memory of the worker; pools are after them."""
        return held(query * (2 * self.schedule.row(self.spec)))

    @property
    def _pools(self) -> int:
        return self.schedule.row(self.spec)

    def clear(self, query: Expr) -> None:
        """Emit that a query has no candidates."""
        self.numbers[query] = T.int32(0)
        self.floors[query] = T.int32(LOWEST)

    def make_room(self, query: Expr, new: Expr) -> None:
        """Emit the choice among the candidates of a query unless `new` ones have room."""
        with when(self.numbers[query] + new > self.schedule.room(self.spec)):
            self.choose(query)

    def add(self, query: Expr, ranks: Expr, first: Expr) -> None:
        """Emit the addition of the 16 pools from `first` on with their ranks, where they matter."""
        floor = let(self.floors[query])
        above = T.Select(ranks > splat(floor), integers(1), integers(0))
        with when(vector.total(T.Cast(vector.FLOATS, above)) > T.float32(0.0)):
            found = scratch((LANES,), "int32")
            found[lanes(0)] = ranks
            start = self._ranks(query)
            with loop(LANES) as lane:
                self._put(query, start, found[lane], first + lane, floor)

    def add_one(self, query: Expr, rank: Expr, pool: Expr) -> None:
        """Emit the addition of a pool where it matters."""
        self._put(query, self._ranks(query), rank, pool, self.floors[query])

    def _put(self, query: Expr, start: Expr, rank: Expr, pool: Expr, floor: Expr) -> None:
        """Emit the write of a candidate after the others, which counts if it is above the floor."""
        candidates, number = self.tensors.candidates, held(self.numbers[query])
        rank = held(rank)
        candidates[self.worker, start + number] = rank
        candidates[self.worker, start + self._pools + number] = pool
        self.numbers[query] = number + T.Cast("int32", rank > floor)

    def choose(self, query: Expr) -> None:
        """Emit that a query keeps the best of its candidates if there are more than are wanted."""
        candidates, count = self.tensors.candidates, self.spec.count
        number, start = held(self.numbers[query]), self._ranks(query)
        with when(number > count):
            candidates[self.worker, lanes(start + number)] = integers(LOWEST)
            ranks = read_from(candidates, self.worker, start)
            reached = held(threshold(ranks, number, count, signed=True))
            above = count_where(ranks, number, lambda each: each > splat(reached))
            ties, kept = scratch((1,), "int32"), scratch((1,), "int32")
            ties[0], kept[0] = T.int32(count) - T.Cast("int32", above), T.int32(0)
            with loop(number) as index:
                rank = held(candidates[self.worker, start + index])
                pool = held(candidates[self.worker, start + self._pools + index])
                is_tie = held(T.Cast("int32", T.And(rank == reached, ties[0] > 0)))
                candidates[self.worker, start + kept[0]] = rank
                candidates[self.worker, start + self._pools + kept[0]] = pool
                kept[0] = kept[0] + T.Cast("int32", rank > reached) + is_tie
                ties[0] = ties[0] - is_tie
            self.numbers[query] = T.int32(count)
            self.floors[query] = reached

    def keep(self, query: Expr, worker: Expr, start: Expr) -> None:
        """Emit the best candidates of a query as the record of a part."""
        parts, candidates, own = self.tensors.parts, self.tensors.candidates, self._ranks(query)
        number = held(self.numbers[query])
        parts[worker, start] = number
        with loop(number) as index:
            place = held(start + LANES + 2 * index)
            parts[worker, place] = candidates[self.worker, own + index]
            parts[worker, place + 1] = candidates[self.worker, own + self._pools + index]

    def add_record(self, query: Expr, worker: Expr, start: Expr) -> None:
        """Emit the addition of the candidates of a part that comes after those before."""
        parts = self.tensors.parts
        number = held(parts[worker, start])
        self.make_room(query, number)
        with loop(number) as index:
            place = held(start + LANES + 2 * index)
            self.add_one(query, parts[worker, place], parts[worker, place + 1])

    def list(self, query: Expr, token: Expr) -> None:
        """Emit the row of the selection of a token."""
        number, start = held(self.numbers[query]), held(self._ranks(query) + self._pools)
        with loop(self.spec.count) as entry:
            pool = self.tensors.candidates[self.worker, start + T.min(entry, number)]
            self.tensors.selection[token, entry] = T.if_then_else(
                entry < number, pool, T.int32(NO_POOL)
            )


def candidates_of(spec: Spec, schedule: Schedule, tensors: Tensors, worker: Expr) -> Candidates:
    """Emit the counters of the candidates of a tile of queries."""
    counters = (scratch((schedule.queries(spec),), "int32") for _ in range(2))
    return Candidates(spec, schedule, tensors, worker, *counters)
