"""head_linear on the CPU: some rows of a head at a time, its weight read once for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.head_linear.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensors,
    choose,
    held,
    let,
    loop,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import cover_columns, even_width, zero_tile
from sala_compile.codegen.targets.cpu import CpuTarget

F32 = Element.F32


@dataclass(frozen=True, slots=True)
class Schedule:
    """Register tiles `row_tile` x `column_vectors`, of a single row `row_vectors` vectors.

    An item of work is `rows` rows of a head.
    """

    row_tile: int = 8
    column_vectors: int = 2
    row_vectors: int = 8
    rows: int = 64


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    return Schedule() if target.has_avx512 else Schedule(4, 1, 4)


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Rows of an item; all give the same bits."""
    return (single("rows", 32, 64, 128, exact=True),)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the products of all heads."""
    body, control = _Products(spec, schedule, builder.tensors), builder.tensors.control
    groups = (control.tokens + schedule.rows - 1) // schedule.rows

    def work(team: Team) -> None:
        def take(item: Expr) -> None:
            body.head(let(item % spec.num_heads), let(item // spec.num_heads * schedule.rows))

        team.dynamic(groups * spec.num_heads, take)

    workers(builder, control, work)


@dataclass(frozen=True, slots=True)
class _Products:
    spec: Spec
    schedule: Schedule
    tensors: Tensors

    def head(self, head: Expr, first: Expr) -> None:
        """Emit the products of a head for up to `rows` rows from `first` on."""
        rows, height = self.schedule.rows, self.schedule.row_tile
        count = held(T.min(self.tensors.control.tokens - first, T.int32(rows)))

        def several() -> None:
            with loop((count + height - 1) // height) as turn:
                self._rows(head, held(first + turn * height), height)

        choose(count > 1, several, lambda: self._rows(head, first, 1))
        with when(head == self.spec.num_heads - 1), loop(count) as row:
            used = self.spec.num_heads * self.spec.output_dim
            clear_padding(self.spec.output, self.tensors.y, first + row, used)

    def _rows(self, head: Expr, top: Expr, height: int) -> None:
        """Emit `height` rows; those after the last one are computed as it is, and not written."""
        spec, tensors, schedule = self.spec, self.tensors, self.schedule
        last = tensors.control.tokens - 1
        sources = [held(T.min(top + i, last)) for i in range(height)]
        start = let(spec.x_start + head * spec.head_pitch)
        weights = let(head * spec.input_dim)
        most = schedule.row_vectors if height == 1 else schedule.column_vectors

        def columns(vector_index: Expr, live: Sequence[int]) -> None:
            left = let(vector_index * LANES)
            sums = zero_tile(height, len(live))
            sums.accumulate(
                F32,
                spec.input_dim,
                lambda i, a: spec.x.spread_value(tensors.x, sources[i], start + a),
                lambda j, a: let(spec.weight.load(tensors.weight, weights + a, left + j * LANES)),
            )
            for i in range(height):
                with when(top + i <= last):
                    for j, count in enumerate(live):
                        place = (top + i, head * spec.output_dim + left + j * LANES)
                        spec.output.store(tensors.y, *place, value=sums[i, j], count=count)

        cover_columns(spec.output_dim, even_width(spec.output_dim, most), columns)


FAMILY = CpuFamily(
    name="head_linear",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    axes=axes,
    emit=emit,
)
