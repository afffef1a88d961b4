"""Short convolutions on the CPU: some columns of a sequence at a time, token after token."""

from collections.abc import Sequence
from dataclasses import dataclass

from sala_compile.codegen.kernels.short_convolution.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Registers,
    choose,
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
from sala_compile.codegen.kernels.tir.sequence_columns import SequenceColumns, emit_columns

F32 = Element.F32


@dataclass(frozen=True, slots=True)
class Schedule:
    """Vectors of 16 columns that one item has; their taps and their window stay in registers."""

    vectors: int = 2


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the work on all columns of all sequences."""
    emit_columns(builder, spec, schedule.vectors, _Columns)


@dataclass(frozen=True, slots=True)
class _Columns(SequenceColumns[Spec]):
    """The outputs of some columns of a sequence, and its window."""

    def emit(self, live: Sequence[int]) -> None:
        """Emit so many vectors of columns."""
        spec, tensors = self.spec, self.tensors
        vectors, kept = len(live), spec.kept
        taps = [
            [let(tensors.weight[tap, lanes(self.first + v * LANES)]) for v in range(vectors)]
            for tap in range(spec.taps)
        ]
        window = registers(kept * vectors)
        self._begin(window, live)
        with loop(self.count) as index:
            row = let(self.start + index)
            new = [
                let(F32.load(tensors.x, row, self.first + spec.x_start + v * LANES, count=n))
                for v, n in enumerate(live)
            ]
            for v in range(vectors):
                column = self.first + v * LANES
                value = tensors.bias[lanes(column)] if spec.bias else splat(0.0)
                for tap in range(spec.taps - 1):  # the oldest input first
                    place = tap * spec.dilation * vectors + v
                    value = vector.fma(taps[tap][v], window[place], value)
                value = let(vector.silu(let(vector.fma(taps[-1][v], new[v], value))))
                # A vector that is not all live ends the row: its last lanes are the padding, 0.
                spec.out_element.store(tensors.out, row, column, value=value)
            for cell in range((kept - 1) * vectors):
                window[cell] = window[cell + vectors]
            for v in range(vectors):
                window[(kept - 1) * vectors + v] = new[v]
            with when(self.checkpoint >= 0), when(index < self.count - 1):
                self._store(window, let(self.checkpoint + long(index)), live)
        self._store(window, self.slot, live)

    def _begin(self, window: Registers, live: Sequence[int]) -> None:
        """Emit the window of the sequence before these tokens; zeros before its first."""

        def load() -> None:
            for cell, (tap, v) in enumerate(_cells(self.spec, live)):
                place = (self.slot, tap, self.first + v * LANES)
                window[cell] = F32.load(self.tensors.window, *place, count=live[v])

        def clear() -> None:
            for cell, _ in enumerate(_cells(self.spec, live)):
                window[cell] = splat(0.0)

        choose(self.history > 0, load, clear)

    def _store(self, window: Registers, slot: Expr, live: Sequence[int]) -> None:
        for cell, (tap, v) in enumerate(_cells(self.spec, live)):
            place = (slot, tap, self.first + v * LANES)
            F32.store(self.tensors.window, *place, value=window[cell], count=live[v])


def _cells(spec: Spec, live: Sequence[int]) -> list[tuple[int, int]]:
    """The registers of a window: (place of the token, vector)."""
    return [(tap, v) for tap in range(spec.kept) for v in range(len(live))]


FAMILY = CpuFamily(
    name="short_convolution",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    emit=emit,
)
