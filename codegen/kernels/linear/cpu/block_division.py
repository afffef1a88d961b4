"""How the outputs of a linear that prepares its operands are divided, and in which order.

Few rows: a worker prepares them all, the whole depth, and reads the panels that it takes as one
stream; for a single row, which waits for memory, as several. Many rows: a worker takes some rows of
some panels at a time and goes through the depth in parts; for a part it prepares the rows, then
panel by panel the weight, which stays in a cache while the rows pass. Between parts the sums wait
in the workspace, in float32. Either way every sum takes its steps in ascending order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sala_compile.codegen.kernels.linear.cpu.epilogue import LinearEpilogue
from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    choose,
    held,
    lanes,
    loop,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team
from sala_compile.codegen.layouts.panels import PANEL_ROWS

PANEL_VECTORS = PANEL_ROWS // LANES
SHARES = 2
"""Items for each worker that make a fair division."""


@dataclass(frozen=True, slots=True)
class DepthPart:
    """Rows `row` .. `row + count - 1` and blocks of the depth `first` .. `first + blocks - 1`.

    `pitch` is the number of blocks from one prepared row to the next.
    """

    worker: Expr
    row: Expr
    count: Expr
    first: Expr
    blocks: Expr
    pitch: int


Column = tuple[Expr, Expr]
"""16 outputs: a panel, and which of its vectors."""


@dataclass(frozen=True, slots=True)
class DivisionTile:
    """Prepared rows `row` .. `row + rows - 1` of a part, by the `panels` panels from `panel` on.

    Their sums begin at `sums`, those of the first panel before those of the next.
    """

    part: DepthPart
    panel: Expr
    row: Expr
    rows: int
    sums: Expr
    panels: int = 1

    def columns(self, first: Expr, count: int) -> list[Column]:
        """Vectors `first` .. `first + count - 1` of every panel."""
        vectors = [held(first + n) for n in range(count)]
        panels = [self.panel, *(held(self.panel + n) for n in range(1, self.panels))]
        return [(panel, j) for panel in panels for j in vectors]

    def cells(self, columns: list[Column]) -> list[Expr]:
        """Where the sums of columns are, row by row."""
        each = len(columns) // self.panels
        return [
            (self.sums + n // each * self.rows + i) * PANEL_ROWS + j * LANES
            for i in range(self.rows)
            for n, (_, j) in enumerate(columns)
        ]


@dataclass(frozen=True, slots=True)
class Ahead:
    """The weight that is needed next: a panel, from a block of the depth on."""

    panel: Expr
    first: Expr


class PreparedOperands(Protocol):
    """How rows and weights are prepared and multiplied; the depth is counted in blocks."""

    @property
    def depth_blocks(self) -> int:
        """Blocks of the depth."""
        ...

    @property
    def part_blocks(self) -> int:
        """Blocks of a part where rows are many."""
        ...

    def prepare(self, part: DepthPart, *, expanded: bool) -> None:
        """Emit the preparation of the rows of a part, for the weight as stored or as prepared."""
        ...

    @property
    def part_lines(self) -> int:
        """Lines of 64 bytes of weight in a part of a panel."""
        ...

    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the preparation of a part of a panel."""
        ...

    def prefetch(self, ahead: Ahead, line: Expr) -> None:
        """Emit the prefetch of a line of the weight that is needed next."""
        ...

    def add(self, tile: DivisionTile, *, expanded: bool) -> None:
        """Emit sums += x W^T for a tile, with the weight as it is stored or as prepared."""
        ...


@dataclass(frozen=True, slots=True)
class Division:
    """The loops of a linear kernel around its operands."""

    spec: Spec
    blocks: Blocks
    epilogue: LinearEpilogue
    sums: Tensor
    operands: PreparedOperands

    @property
    def _panels(self) -> int:
        return -(-self.spec.rows // PANEL_ROWS)

    def work(self, team: Team, live: Expr) -> None:
        """Emit a worker's share of the outputs of all live rows."""
        choose(
            live <= self.blocks.few[-1],
            lambda: self._few(team, live),
            lambda: self._many(team, live),
        )

    def _few(self, team: Team, live: Expr) -> None:
        part = self.few_rows(team.worker, 0, live)
        self.operands.prepare(part, expanded=False)

        def share(rows: int, together: int) -> None:
            team.dynamic(
                self._panels // together,
                lambda index: self.panels(part, held(index * together), rows, together),
            )

        self.by_height(live, share)

    def few_rows(self, worker: Expr, row: Expr, count: Expr) -> DepthPart:
        """Few rows over the whole depth."""
        depth = self.operands.depth_blocks
        return DepthPart(worker, row, count, 0, depth, depth)

    def by_height(self, count: Expr, body: Callable[[int, int], None]) -> None:
        """Emit `body(rows of a tile, panels at a time)` for few rows.

        One row is bound by memory: several panels are several streams that the core prefetches.
        """
        streams, below = self.blocks.streams, 0
        for rows in self.blocks.few:
            with when(T.And(count > below, count <= rows)):
                body(rows, streams if rows == 1 and self._panels % streams == 0 else 1)
            below = rows

    def panels(self, part: DepthPart, first: Expr, rows: int, together: int) -> None:
        """Emit few prepared rows, at most `rows`, by some panels at once."""
        self._clear(part.worker, 0, rows * together)
        self.operands.add(DivisionTile(part, first, 0, rows, 0, together), expanded=False)
        for n in range(together):
            self._finish(part.worker, first + n, part.row, part.count, n * rows)

    def _many(self, team: Team, live: Expr) -> None:
        blocks = self.blocks
        row_blocks = held((live + (blocks.rows - 1)) // blocks.rows)
        fair = row_blocks * self._panels // (team.count * SHARES)
        width = held(T.max(T.min(fair, blocks.panels), 1))
        groups = held((self._panels + width - 1) // width)

        def item(index: Expr) -> None:
            row = held(index % row_blocks * blocks.rows)
            count = held(T.min(live - row, blocks.rows))
            panel = held(index // row_blocks * width)
            self.block(team.worker, row, count, panel, held(T.min(self._panels - panel, width)))

        team.dynamic(groups * row_blocks, item)

    def block(self, worker: Expr, row: Expr, count: Expr, panel: Expr, panels: Expr) -> None:
        """Emit a block of rows by some panels, part by part of the depth."""
        size, rows = self.operands.part_blocks, self.blocks.rows
        depth = self.operands.depth_blocks
        with loop(panels) as turn:
            self._clear(worker, turn * rows, count)
        with loop(-(-depth // size)) as index:
            first = held(index * size)
            part = DepthPart(worker, row, count, first, held(T.min(depth - first, size)), size)
            self.operands.prepare(part, expanded=True)
            with loop(panels) as turn:
                here = held(panel + turn)
                more = turn + 1 < panels
                ahead = Ahead(
                    panel=held(T.Select(more, here + 1, panel)),
                    first=held(T.Select(more, first, first + size)),
                )
                self.operands.expand(part, here)
                self._tiles(part, here, turn * rows, ahead)
        with loop(panels) as turn:
            self._finish(worker, panel + turn, row, count, turn * rows)

    def _tiles(self, part: DepthPart, panel: Expr, sums: Expr, ahead: Ahead) -> None:
        """Emit whole tiles, then one that covers the rows that are left, and rows beyond."""
        *smaller, height = self.blocks.heights
        # Each tile prefetches its share of the next part of the weight.
        share = held((self.operands.part_lines * height + part.count - 1) // part.count)

        def add(row: Expr, rows: int) -> None:
            with loop(share) as line:
                self.operands.prefetch(ahead, row // height * share + line)
            self.operands.add(DivisionTile(part, panel, row, rows, held(sums + row)), expanded=True)

        with loop(part.count // height) as index:
            add(held(index * height), height)
        left = held(part.count % height)
        below = 0
        for rows in (*smaller, height):
            with when(T.And(left > below, left <= rows)):
                add(held(part.count - left), rows)
            below = rows

    def _clear(self, worker: Expr, first: Expr, rows: Expr) -> None:
        with loop(rows * PANEL_VECTORS) as cell:
            self.sums[worker, lanes(first * PANEL_ROWS + cell * LANES)] = splat(0.0)

    def _finish(self, worker: Expr, panel: Expr, row: Expr, rows: Expr, first: Expr) -> None:
        with loop(rows) as index:
            cell = held((first + index) * PANEL_ROWS)

            def sums(j: int, cell: Expr = cell) -> Expr:
                return self.sums[worker, lanes(cell + j * LANES)]

            self.epilogue.finish(held(row + index), held(panel * PANEL_ROWS), PANEL_VECTORS, sums)
