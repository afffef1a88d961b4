"""Work on columns of sequences whose tokens follow each other: some columns of one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensors,
    choose,
    held,
    let,
    long,
)
from sala_compile.codegen.kernels.tir.rows import ALONE_ELEMENTS
from sala_compile.codegen.kernels.tir.team import Team, workers


class Columned(Protocol):
    """A spec of rows of so many columns."""

    @property
    def columns(self) -> int:
        """Columns of a row."""
        ...


S = TypeVar("S", bound=Columned)


@dataclass(frozen=True, slots=True)
class SequenceColumns(Generic[S]):
    """Columns from `first` on of one sequence, whose rows are those from `start` on.

    `count` tokens are new, after `history` others; the state is in `slot`, those of drafted tokens
    from `checkpoint` on, which is negative where none are kept.
    """

    spec: S
    tensors: Tensors
    first: Expr
    start: Expr
    count: Expr
    history: Expr
    slot: Expr
    checkpoint: Expr

    @classmethod
    def of(cls, spec: S, tensors: Tensors, sequence: Expr, first: Expr) -> Self:
        """The columns of a sequence of the batch."""
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
        """Emit vectors of columns, of which so many lanes each are live."""
        raise NotImplementedError


def emit_columns(
    builder: KernelBuilder, spec: S, vectors: int, kind: type[SequenceColumns[S]]
) -> None:
    """Emit the work on all columns of all sequences, `vectors` of 16 columns in an item."""
    tensors, width = builder.tensors, LANES * vectors
    whole, rest = divmod(spec.columns, width)
    last = [min(LANES, rest - first) for first in range(0, rest, LANES)]
    blocks = whole + bool(rest)

    def item(index: Expr) -> None:
        sequence, block = let(index // blocks), let(index % blocks)
        work = kind.of(spec, tensors, sequence, let(block * width))

        def full() -> None:
            work.emit([LANES] * vectors)

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
