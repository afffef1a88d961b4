"""The rows of a unit by some panels of its expert: the emitters of the linear that an expert is."""

from dataclasses import dataclass, replace
from typing import Any

from sala_compile.codegen.kernels.experts.cpu.epilogue import DownEpilogue, UpEpilogue
from sala_compile.codegen.kernels.experts.cpu.expert_rows import CopiedRows, ExpertRows, ListedRows
from sala_compile.codegen.kernels.experts.cpu.schedule import IntegerBlocks, Schedule
from sala_compile.codegen.kernels.experts.spec import Part, Spec
from sala_compile.codegen.kernels.linear.cpu.block_division import Division, PreparedOperands
from sala_compile.codegen.kernels.linear.cpu.panel_vectors import PanelVectors
from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks, Vectors
from sala_compile.codegen.kernels.linear.cpu.widened_blocks import WidenedOperands
from sala_compile.codegen.kernels.linear_integers.cpu import spec as integers
from sala_compile.codegen.kernels.linear_integers.cpu.kernel import integer_operands
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    Tensor,
    Tensors,
    choose,
    held,
    loop,
    when,
)
from sala_compile.codegen.kernels.tir.rows import for_vectors
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Unit:
    """Some rows of one expert: its number, the first place of the list, how many."""

    index: Expr
    first: Expr
    count: Expr


@dataclass(frozen=True, slots=True)
class ExpertPanels:
    """Products of units; `ready` is the unit whose rows the worker has prepared, or -1."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    rows: ExpertRows
    epilogue: Any
    worker: Expr
    ready: Tensor

    @staticmethod
    def of(
        spec: Spec,
        schedule: Schedule,
        tensors: Tensors,
        rows: ExpertRows,
        worker: Expr,
        ready: Tensor,
    ) -> "ExpertPanels":
        """The products of a worker."""
        kind = UpEpilogue if spec.part is Part.UP else DownEpilogue
        epilogue = kind(spec, tensors, rows)
        width = spec.width if spec.part is Part.DOWN else 0
        listed: Any = ListedRows(rows, tensors.x, width)
        seen = Tensors({**tensors.by_name, "x": listed})
        return ExpertPanels(spec, schedule, seen, rows, epilogue, worker, ready)

    def multiply(self, unit: Unit, panel: Expr, panels: Expr) -> None:
        """Emit the rows of a unit by panels `panel` .. `panel + panels - 1` of all experts'."""
        if isinstance(self.schedule, Vectors):
            self._by_vectors(unit, panel, panels, self.schedule)
        else:
            self._by_blocks(unit, panel, panels, self.schedule)

    def _by_vectors(self, unit: Unit, panel: Expr, panels: Expr, schedule: Vectors) -> None:
        pitch = padded(self.spec.depth)
        kept: Any = CopiedRows(self.tensors.x_rows, self.worker, unit.first, pitch)
        with when(self.ready[0] != unit.index):
            self._keep(unit, kept)
            self.ready[0] = unit.index
        seen = Tensors({**self.tensors.by_name, "x": kept})
        one = replace(self.spec.one, x_start=0)
        vectors = PanelVectors(one, schedule, seen, self.epilogue)
        with loop(panels) as turn:
            vectors.block(self.worker, held(panel + turn), unit.first, unit.count)

    def _keep(self, unit: Unit, kept: Any) -> None:
        """Emit a copy of the rows, which then are read without the list."""
        spec, element = self.spec, self.spec.weight
        with loop(unit.count) as index:
            place = held(unit.first + index)

            def copy(column: Expr, count: int, place: Expr = place) -> None:
                value = element.load(self.tensors.x, place, column + spec.x_start, count=count)
                element.store(kept, place, column, value=value)

            for_vectors(spec.depth, copy)

    def _by_blocks(self, unit: Unit, panel: Expr, panels: Expr, schedule: Blocks) -> None:
        division = Division(
            self.spec.one, schedule, self.epilogue, self.tensors.sums, self._operands(schedule)
        )

        def few() -> None:
            part = division.few_rows(self.worker, unit.first, unit.count)
            with when(self.ready[0] != unit.index):
                division.operands.prepare(part, expanded=False)
                self.ready[0] = unit.index

            def share(rows: int, together: int) -> None:
                with loop(panels // together) as turn:
                    division.panels(part, held(panel + turn * together), rows, together)

            division.by_height(unit.count, share)

        def many() -> None:
            self.ready[0] = -1
            division.block(self.worker, unit.first, unit.count, panel, panels)

        choose(unit.count <= schedule.few[-1], few, many)

    def _operands(self, schedule: Blocks) -> PreparedOperands:
        one = self.spec.one
        if isinstance(one, integers.Spec):
            assert isinstance(schedule, IntegerBlocks), "tiles of integers"
            return integer_operands(self.tensors, one, schedule)
        return WidenedOperands(one, schedule, self.tensors)
