"""Pools of tokens on the CPU: some columns of a sequence at a time, token after token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sala_compile.codegen.kernels.pool_tokens.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    choose,
    held,
    lanes,
    let,
    long,
    loop,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.sequence_columns import SequenceColumns, emit_columns

F32 = Element.F32
Load = Callable[[int, bool], Expr]
"""Reads a vector of a token's row: number of the vector, whether it is one of the gate."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Vectors of 16 columns that one item has; their sums stay in registers."""

    vectors: int = 2


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the work on all columns of all sequences."""
    emit_columns(builder, spec, schedule.vectors, _Columns)


@dataclass(frozen=True, slots=True)
class _Columns(SequenceColumns[Spec]):
    """The pools of some columns of a sequence, and the state of the open one."""

    def emit(self, live: Sequence[int]) -> None:
        """Emit so many vectors of columns."""
        pool = self.spec.pool
        with loop(self.count) as index:
            row = held(self.start + index)
            ends = T.truncmod(self.history + index + 1, pool) == 0
            choose(ends, lambda: self._pool(index, row, live), lambda: self._clear(row, live))
        # The rows of drafted tokens first: they read what the last one replaces.
        with when(self.checkpoint >= 0), loop(self.count - 1) as index:
            self._keep(held(index + 1), self.checkpoint + long(index), live)
        self._keep(self.count, self.slot, live)

    def _pool(self, index: Expr, row: Expr, live: Sequence[int]) -> None:
        """Emit the pool that ends with token `index` of this step, which is in `row`."""
        pool, vectors = self.spec.pool, len(live)
        kept = held(T.max(pool - 1 - index, 0))  # its tokens of earlier steps

        def over_tokens(body: Callable[[Expr, Load], None]) -> None:
            with loop(kept) as token:
                body(token, self._kept_row(token, live))
            with loop(pool, start=kept) as token:
                body(token, self._new_row(row - (pool - 1) + token, live))

        total = registers(vectors).fill(vectors)
        if not self.spec.gated:

            def add(_: Expr, load: Load) -> None:
                for v in range(vectors):
                    total[v] = total[v] + load(v, False)

            over_tokens(add)
            self._write(row, [total[v] * splat(1.0 / pool) for v in range(vectors)])
            return
        largest = registers(vectors).fill(vectors, -3.0e38)
        shares = registers(vectors).fill(vectors)

        def logit(token: Expr, load: Load, v: int) -> Expr:
            return load(v, True) + self.tensors.place[token, lanes(self.first + v * LANES)]

        def compare(token: Expr, load: Load) -> None:
            for v in range(vectors):
                largest[v] = vector.maximum(logit(token, load, v), largest[v])

        def weigh(token: Expr, load: Load) -> None:
            for v in range(vectors):
                share = let(vector.exp(logit(token, load, v) - largest[v]))
                shares[v] = shares[v] + share
                total[v] = vector.fma(share, load(v, False), total[v])

        over_tokens(compare)
        over_tokens(weigh)
        self._write(row, [total[v] / shares[v] for v in range(vectors)])

    def _clear(self, row: Expr, live: Sequence[int]) -> None:
        self._write(row, [splat(0.0) for _ in live])

    def _write(self, row: Expr, values: Sequence[Expr]) -> None:
        # A vector that is not all live ends the row: its last lanes are the padding, 0.
        for v, value in enumerate(values):
            self.spec.out_element.store(
                self.tensors.out, row, self.first + v * LANES, value=let(value)
            )

    def _new_row(self, row: Expr, live: Sequence[int]) -> Load:
        """Reads a token of this step."""
        spec, tensors = self.spec, self.tensors

        def load(v: int, gate: bool) -> Expr:
            source, start = (tensors.gate, spec.gate_start) if gate else (tensors.x, spec.x_start)
            return F32.load(source, row, self.first + start + v * LANES, count=live[v])

        return load

    def _kept_row(self, token: Expr, live: Sequence[int]) -> Load:
        """Reads a token of the open pool by its place there."""

        def load(v: int, gate: bool) -> Expr:
            column = self.first + gate * self.spec.columns + v * LANES
            return F32.load(self.tensors.state, self.slot, token, column, count=live[v])

        return load

    def _keep(self, count: Expr, slot: Expr, live: Sequence[int]) -> None:
        """Emit the state after the first `count` tokens of this step, into the row `slot`."""
        pool = self.spec.pool
        with loop(pool - 1) as token:
            last = held(self.history + count - 1)
            newest = held(last - T.truncmod(last + pool - token, pool))

            def new() -> None:
                self._copy(
                    slot, token, self._new_row(self.start + newest - self.history, live), live
                )

            def old() -> None:
                def clear() -> None:
                    self._copy(slot, token, lambda v, gate: splat(0.0), live)

                def stay() -> None:
                    self._copy(slot, token, self._kept_row(token, live), live)

                choose(self.history > 0, stay, clear)

            choose(newest >= self.history, new, old)

    def _copy(self, slot: Expr, token: Expr, load: Load, live: Sequence[int]) -> None:
        for gate in range(1 + self.spec.gated):
            for v, count in enumerate(live):
                column = self.first + gate * self.spec.columns + v * LANES
                place = (slot, token, column)
                F32.store(self.tensors.state, *place, value=load(v, bool(gate)), count=count)


FAMILY = CpuFamily(
    name="pool_tokens",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    emit=emit,
)
