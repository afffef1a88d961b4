"""The code of a linear kernel: sums of a block of rows of a panel, then their epilogue."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.epilogue import LinearEpilogue
from sala_compile.codegen.kernels.linear.cpu.schedule import Vectors
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    Tensors,
    lanes,
    let,
    loop,
    prefetch,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team
from sala_compile.codegen.layouts.panels import PANEL_ROWS

PANEL_VECTORS = PANEL_ROWS // LANES


@dataclass(frozen=True, slots=True)
class PanelVectors:
    """The code of a linear by vectors."""

    spec: Spec
    schedule: Vectors
    tensors: Tensors
    epilogue: LinearEpilogue

    def shared(self, live: Expr) -> Callable[[Team], None]:
        """Emit how many blocks there are; return what emits a worker's share of them."""
        block_rows = self.schedule.block_rows
        blocks = let((live + block_rows - 1) // block_rows)
        panels = -(-self.spec.rows // PANEL_ROWS)

        def work(team: Team) -> None:
            def block(item: Expr) -> None:
                first = let(item % blocks * block_rows)
                count = let(T.min(live - first, block_rows))
                self.block(team.worker, let(item // blocks), first, count)

            team.dynamic(blocks * panels, block)

        return work

    def block(self, worker: Expr, panel: Expr, first: Expr, count: Expr) -> None:
        """Emit rows first .. first + count - 1 of the outputs of a panel."""
        with loop(count * PANEL_VECTORS) as cell:
            self.tensors.sums[worker, lanes(cell * LANES)] = splat(0.0)
        part = min(self.schedule.depth_steps, self.spec.steps)
        with loop(-(-self.spec.steps // part)) as index:
            steps = Steps(let(index * part), let(T.min(self.spec.steps - index * part, part)))
            place = Place(worker, panel, first, steps)
            self._rows(count, lambda row, rows: self._tile(place, row, rows))
        with loop(count) as row:
            cell = let(row * PANEL_ROWS)

            def sums(j: int, cell: Expr = cell) -> Expr:
                return self.tensors.sums[worker, lanes(cell + j * LANES)]

            self.epilogue.finish(let(first + row), panel * PANEL_ROWS, PANEL_VECTORS, sums)

    def _rows(self, count: Expr, body: Callable[[Expr, int], None]) -> None:
        """Emit `body(first row, rows)` for whole tiles, then for one tile of what is left."""
        height = self.schedule.tile_rows
        with loop(count // height) as index:
            body(let(index * height), height)
        for rows in range(1, height):
            with when(T.EQ(count % height, rows)):
                body(let(count - rows), rows)

    def _tile(self, place: "Place", row: Expr, rows: int) -> None:
        """Emit a part of the depth for `rows` rows, as many vectors at a time as fit registers."""
        width = self.schedule.vectors(rows)
        for start in range(0, PANEL_VECTORS, width):
            cells = [
                lanes((row + i) * PANEL_ROWS + (start + j) * LANES)
                for i in range(rows)
                for j in range(width)
            ]
            sums = registers(len(cells))
            for index, cell in enumerate(cells):
                sums[index] = self.tensors.sums[place.worker, cell]
            self._accumulate(place, sums, row, rows, range(start, start + width))
            for index, cell in enumerate(cells):
                self.tensors.sums[place.worker, cell] = sums[index]

    def _accumulate(
        self, place: "Place", sums: Registers, row: Expr, rows: int, vectors: range
    ) -> None:
        """Emit sums += x W^T: every sum takes its steps in order."""
        kind, schedule = self.spec.weight, self.schedule

        def step(index: Expr) -> None:
            if rows <= schedule.prefetch_rows:
                for j in vectors:
                    ahead = index + schedule.prefetch_steps
                    prefetch(self.tensors.weight, place.panel, ahead, j * LANES, 0)
            operands = [
                kind.operand(self.tensors.weight, place.panel, index, j * LANES, 0) for j in vectors
            ]
            for i in range(rows):
                column = index * kind.pack + self.spec.x_start
                x = kind.spread(self.tensors.x, place.first + row + i, column)
                for j, operand in enumerate(operands):
                    cell = i * len(vectors) + j
                    sums[cell] = kind.dot(sums[cell], operand, x)

        place.steps.each(schedule.unroll, step)


@dataclass(frozen=True, slots=True)
class Steps:
    """A part of the depth: steps first .. first + count - 1."""

    first: Expr
    count: Expr

    def each(self, unroll: int, body: Callable[[Expr], None]) -> None:
        """Emit `body(step)` in order, `unroll` of them in a loop body."""
        with loop(self.count // unroll) as index:
            for offset in range(unroll):
                body(let(self.first + index * unroll + offset))
        if unroll > 1:
            with loop(self.count % unroll) as rest:
                body(let(self.first + self.count // unroll * unroll + rest))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tile works: whose sums, which panel, the block's first row, which steps."""

    worker: Expr
    panel: Expr
    first: Expr
    steps: Steps
