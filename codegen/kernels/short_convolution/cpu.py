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
    Tensors,
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
from sala_compile.codegen.kernels.tir.rows import ALONE_ELEMENTS
from sala_compile.codegen.kernels.tir.team import Team, workers

F32 = Element.F32


@dataclass(frozen=True, slots=True)
class Schedule:
    """Vectors of 16 columns that one item has; their taps and their window stay in registers."""

    vectors: int = 2


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the work on all columns of all sequences."""
    tensors, width = builder.tensors, LANES * schedule.vectors
    whole, rest = divmod(spec.columns, width)
    last = [min(LANES, rest - first) for first in range(0, rest, LANES)]
    blocks = whole + bool(rest)

    def item(index: Expr) -> None:
        sequence, block = let(index // blocks), let(index % blocks)
        work = _Columns.of(spec, tensors, sequence, let(block * width))

        def full() -> None:
            work.emit([LANES] * schedule.vectors)

        if not rest:
            full()
        elif not whole:
            work.emit(last)
        else:
            choose(block < whole, full, lambda: work.emit(last))

    def work(team: Team) -> None:
        team.static(tensors.control.sequences * blocks, item)

    alone = tensors.control.tokens <= max(1, ALONE_ELEMENTS // spec.columns)
    workers(builder, tensors.control, work, alone=alone)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns from `first` on of one sequence, whose rows are those from `start` on."""

    spec: Spec
    tensors: Tensors
    first: Expr
    start: Expr
    count: Expr
    history: Expr
    slot: Expr
    checkpoint: Expr

    @classmethod
    def of(cls, spec: Spec, tensors: Tensors, sequence: Expr, first: Expr) -> "_Columns":
        start = held(tensors.offsets[sequence])
        return cls(
            spec,
            tensors,
            first,
            start,
            held(tensors.offsets[sequence + 1] - start),
            held(tensors.history[sequence]),
            held(long(tensors.slots[sequence]), "int64"),
            held(long(tensors.checkpoints[sequence]), "int64"),
        )

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
