"""One head of one sequence: its state, its rows, and the layout of its workspace."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.lightning_attention.cpu.decay_table import MARGIN, SPAN
from sala_compile.codegen.kernels.lightning_attention.cpu.schedule import Schedule
from sala_compile.codegen.kernels.lightning_attention.spec import CHUNK, Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, lanes, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.table import Table
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

F32 = Element.F32


@dataclass(frozen=True, slots=True)
class Head:
    """One head of one sequence.

    The workspace of a worker holds, with `columns` = head_dim padded to 16: prepared queries
    [rows, columns]; keys, decayed to the end of the chunk [64, columns]; keys transposed
    [columns, 64]; values [64, columns]; scores [rows, 64].
    """

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    decay: Table
    worker: Expr
    head: Expr
    slot: Expr

    @property
    def columns(self) -> int:
        return padded(self.spec.head_dim)

    @property
    def kv_head(self) -> Expr:
        return self.head // (self.spec.num_heads // self.spec.kv_heads)

    @property
    def keys_at(self) -> int:
        return self.schedule.rows * self.columns

    @property
    def transposed_at(self) -> int:
        return self.keys_at + CHUNK * self.columns

    @property
    def values_at(self) -> int:
        return self.transposed_at + CHUNK * self.columns

    @property
    def scores_at(self) -> int:
        return self.values_at + CHUNK * self.columns

    def power(self, exponent: Expr) -> Expr:
        """The decay to the power `exponent` <= 64; 0 for a negative one."""
        return splat(self.decay[self.head * SPAN + (CHUNK + MARGIN) - exponent])

    def powers(self, exponent: Expr) -> Expr:
        """The decay to the powers exponent, exponent - 1, ... exponent - 15."""
        return self.decay.vector(self.head * SPAN + (CHUNK + MARGIN) - exponent)

    def chunk_spread(self, position: Expr) -> Expr:
        return F32.spread(self.tensors.chunk, self.worker, position)

    def chunk_vector(self, position: Expr) -> Expr:
        return F32.operand(self.tensors.chunk, self.worker, position)

    def keep(self, position: Expr, value: Expr) -> None:
        self.tensors.chunk[self.worker, lanes(position)] = value

    def state(self, row: Expr, column: Expr, live: int) -> Expr:
        return let(F32.load(self.tensors.state, self.slot, self.head, row, column, count=live))

    def set_state(self, row: Expr, column: Expr, value: Expr, live: int) -> None:
        place = (self.slot, self.head, row, column)
        F32.store(self.tensors.state, *place, value=value, count=live)

    def set_out(self, row: Expr, column: Expr, value: Expr, live: int) -> None:
        place = (row, self.head * self.spec.head_dim + column)
        self.spec.out_element.store(self.tensors.out, *place, value=value, count=live)

    def clear_state(self) -> None:
        """Emit a start from zero."""
        with loop(self.spec.head_dim) as row:
            for column, live in live_lanes(self.spec.head_dim):
                self.set_state(row, column, splat(0.0), live)

    def clear_padding(self, start: Expr, count: Expr) -> None:
        """Emit zeros into the columns that pad the rows of the output."""
        used = self.spec.num_heads * self.spec.head_dim
        if used < padded(used):
            element, live = self.spec.out_element, padded(used) - used
            with loop(count) as row:
                element.store(self.tensors.out, start + row, used, value=splat(0.0), count=live)
