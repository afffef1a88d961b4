"""One head of one sequence: its state, its rows, and what a worker keeps of a chunk."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.gated_recurrence.cpu.schedule import Places, Schedule
from sala_compile.codegen.kernels.gated_recurrence.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, lanes, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

F32 = Element.F32


@dataclass(frozen=True, slots=True)
class StateHead:
    """One head of one sequence, whose state is the row `slot` of the pool."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    head: Expr
    slot: Expr

    @property
    def at(self) -> Places:
        """Where the worker has its matrices."""
        return Places.of(self.spec, self.schedule)

    @property
    def key_head(self) -> Expr:
        return self.head // (self.spec.num_heads // self.spec.key_heads)

    def number(self, position: Expr) -> Expr:
        """One float of the worker's memory."""
        return self.tensors.chunk[self.worker, position]

    def set_number(self, position: Expr, value: Expr) -> None:
        self.tensors.chunk[self.worker, position] = value

    def spread(self, position: Expr) -> Expr:
        return F32.spread(self.tensors.chunk, self.worker, position)

    def vector(self, position: Expr) -> Expr:
        return F32.operand(self.tensors.chunk, self.worker, position)

    def keep(self, position: Expr, value: Expr) -> None:
        self.tensors.chunk[self.worker, lanes(position)] = value

    def state(self, row: Expr, column: Expr, live: int) -> Expr:
        return let(F32.load(self.tensors.state, self.slot, self.head, row, column, count=live))

    def set_state(self, row: Expr, column: Expr, value: Expr, live: int) -> None:
        place = (self.slot, self.head, row, column)
        F32.store(self.tensors.state, *place, value=value, count=live)

    def set_out(self, row: Expr, column: Expr, value: Expr, live: int) -> None:
        place = (row, self.head * self.spec.value_dim + column)
        self.spec.out_element.store(self.tensors.out, *place, value=value, count=live)

    def skipped(self, row: Expr, column: Expr, out: Expr, live: int) -> Expr:
        """An output with what it takes of its own token's value."""
        if not self.spec.skip:
            return out
        place = (row, self.spec.v_start + self.head * self.spec.value_dim + column)
        value = let(F32.load(self.tensors.v, *place, count=live))
        return vector.fma(splat(self.tensors.skip[self.head]), value, out)

    def clear_state(self) -> None:
        """Emit a start from zero."""
        with loop(self.spec.key_dim) as row:
            for column, live in live_lanes(self.spec.value_dim):
                self.set_state(row, column, splat(0.0), live)

    def clear_padding(self, start: Expr, count: Expr) -> None:
        """Emit zeros into the columns that pad the rows of the output."""
        used = self.spec.num_heads * self.spec.value_dim
        if used < padded(used):
            element, live = self.spec.out_element, padded(used) - used
            with loop(count) as row:
                element.store(self.tensors.out, start + row, used, value=splat(0.0), count=live)
