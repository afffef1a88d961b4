"""Connections of streams on the CPU: up to 16 tokens at a time, a lane for each."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.connect_streams.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Registers,
    Tensors,
    choose,
    held,
    lanes,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import ALONE_ELEMENTS, clear_padding, sum_of_squares
from sala_compile.codegen.kernels.tir.team import Team, workers

F32 = Element.F32


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the numbers of every live token."""
    control = builder.tensors.control
    rows = control.tokens

    def work(team: Team) -> None:
        # Fewer tokens at a time where all workers have some so: a lane depends on no other.
        size = held(T.max(T.min(T.truncdiv(rows + team.count - 1, team.count), LANES), 1))

        def group(index: Expr) -> None:
            first = held(index * size)
            _Group(spec, builder.tensors, team.worker, first, T.min(size, rows - first)).emit()

        team.static(held(T.truncdiv(rows + size - 1, size)), group)

    workers(builder, control, work, alone=rows <= max(1, ALONE_ELEMENTS // spec.columns))


@dataclass(frozen=True, slots=True)
class _Group:
    """The `count` tokens from row `first` on; `turned` has numbers, each with a lane per token."""

    spec: Spec
    tensors: Tensors
    worker: Expr
    first: Expr
    count: Expr

    def emit(self) -> None:
        """Emit all numbers of these tokens."""
        with loop(LANES) as lane:
            choose(lane < self.count, lambda: self._read(lane), lambda: self._leave(lane))
        streams, spec = self.spec.streams, self.spec
        for index in range(2 * streams):
            value = let(vector.sigmoid(self._logit(index)))
            value = value + splat(spec.eps) if index < streams else value + value
            self._put(index, value)
        matrix = self._softmax()
        self._divide(matrix, by_row=False)
        with loop(spec.iterations - 1):
            self._divide(matrix, by_row=True)
            self._divide(matrix, by_row=False)
        for index in range(streams**2):
            self._put(2 * streams + index, matrix[index])
        with loop(self.count) as lane:
            row = held(self.first + lane)
            with loop(spec.count) as index:
                found = self.tensors.turned[self.worker, held(index * LANES + lane)]
                self.tensors.result[row, index] = found
            clear_padding(F32, self.tensors.result, row, spec.count)

    def _read(self, lane: Expr) -> None:
        """Emit the logits of a token, divided by the root of its mean square, into its lane."""
        spec, tensors = self.spec, self.tensors
        row = held(self.first + lane)
        total = sum_of_squares(
            spec.columns, lambda column, n: F32.load(tensors.x, row, column + spec.x_start, count=n)
        )
        mean = total * T.float32(1.0 / spec.columns) + T.float32(spec.norm_eps)
        factor = held(T.float32(1.0) / T.sqrt(mean), "float32")
        with loop(spec.count) as index:
            logit = tensors.logits[row, held(index + spec.logits_start)]
            tensors.turned[self.worker, held(index * LANES + lane)] = logit * factor

    def _leave(self, lane: Expr) -> None:
        with loop(self.spec.count) as index:
            self.tensors.turned[self.worker, held(index * LANES + lane)] = T.float32(0.0)

    def _put(self, index: int, value: Expr) -> None:
        self.tensors.turned[self.worker, lanes(index * LANES)] = value

    def _logit(self, index: int) -> Expr:
        """Number `index` of the tokens, with the scale of its part and its base."""
        part = min(index // self.spec.streams, 2)
        value = self.tensors.turned[self.worker, lanes(index * LANES)]
        scale, base = (splat(each) for each in (self.tensors.scale[part], self.tensors.base[index]))
        return let(vector.fma(value, scale, base))

    def _softmax(self) -> Registers:
        """The softmax of every row, plus eps."""
        streams = self.spec.streams
        matrix, total = registers(streams**2), registers(1)
        for row in range(streams):
            cells = range(row * streams, (row + 1) * streams)
            for cell in cells:
                matrix[cell] = self._logit(2 * streams + cell)
            largest = matrix[cells[0]]
            for cell in cells[1:]:
                largest = vector.maximum(matrix[cell], largest)
            total[0] = largest
            largest = let(total[0])
            total[0] = splat(0.0)
            for cell in cells:
                matrix[cell] = vector.exp(matrix[cell] - largest)
                total[0] = total[0] + matrix[cell]
            factor = let(splat(1.0) / total[0])
            for cell in cells:
                matrix[cell] = vector.fma(matrix[cell], factor, splat(self.spec.eps))
        return matrix

    def _divide(self, matrix: Registers, *, by_row: bool) -> None:
        """Emit every row, or every column, divided by its sum plus eps."""
        streams = self.spec.streams
        for line in range(streams):
            cells = [line * streams + k if by_row else k * streams + line for k in range(streams)]
            total = matrix[cells[0]]
            for cell in cells[1:]:
                total = total + matrix[cell]
            factor = let(splat(1.0) / (total + splat(self.spec.eps)))
            for cell in cells:
                matrix[cell] = matrix[cell] * factor


FAMILY = CpuFamily(
    name="connect_streams", spec=Spec, describe=describe, arguments=arguments, emit=emit
)
