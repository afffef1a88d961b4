"""The bf16 linear by AMX: products of tiles of 16 rows x 32 values with 32 values x 16 outputs.

Up to 16 rows take a panel at a time, four tiles of sums, and read its weight as one stream. More
rows take a strip (32 outputs, half of a panel) for 32 rows at a time: 2 x 2 tiles of sums. They go
through the depth in parts, so short that a part of a strip stays in the first level of the cache
while the rows pass; between parts the sums wait in the workspace, in float32. A part of the input
is packed into tiles first: rows that are a power of two apart would share a few sets of the caches.

Either way a sum takes, for 32 values of k at a time, the products of the even k in ascending order
and those of the odd k in ascending order, and then adds the two: one order for any number of rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.epilogue import LinearEpilogue
from sala_compile.codegen.kernels.linear.cpu.panel_vectors import PANEL_VECTORS, Steps
from sala_compile.codegen.kernels.linear.cpu.schedule import Tiles
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    Tensors,
    choose,
    held,
    lanes,
    loop,
    prefetch,
    prefetch_far,
    scratch,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team
from sala_compile.codegen.kernels.tir.tiles import (
    DEPTH,
    SUMS,
    TILE,
    call,
    configure,
    row_bytes,
    tiles,
)
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS

BLOCK = 2 * TILE
"""Rows that are computed together when there are many."""
STRIP = 2 * TILE
"""Outputs that are computed together when there are many rows."""
PAIR_ROW = PANEL_ROWS * 2
"""Values of a panel from one pair of the reduced dimension to the next."""
TILE_FLOATS = TILE * DEPTH // 2
"""Floats in whose place a packed tile of input is."""
AHEAD_STEPS = 2
"""Steps of few rows from the prefetch of a line to its use: each step reads 4 KiB, a page."""
SHARES = 4
"""Items for each worker that make a fair division."""


@dataclass(frozen=True, slots=True)
class _Item:
    """What a worker computes at a time: `count` rows of `strips` strips, in `blocks` blocks."""

    worker: Expr
    row: Expr
    count: Expr
    blocks: Expr
    strip: Expr
    strips: Expr


@dataclass(frozen=True, slots=True)
class _Cell:
    """Up to 32 rows of a strip: from `row` on, of `strip`, and `block` is the place in the item.

    `sums` is where the sums wait and `packed` where the tiles of input are; the lower tile begins
    `lower` floats after the upper one: 0 if there is none.
    """

    item: _Item
    block: Expr
    row: Expr
    count: Expr
    strip: Expr
    sums: Expr
    packed: Expr
    lower: Expr


@dataclass(frozen=True, slots=True)
class AmxTiles:
    """The code of a linear by tiles."""

    spec: Spec
    blocks: Tiles
    tensors: Tensors
    epilogue: LinearEpilogue

    def work(self, team: Team, live: Expr) -> None:
        """Emit a worker's share of the outputs of all live rows."""
        with tiles():
            choose(
                live <= TILE,
                lambda: self._few(team, live),
                lambda: self._many(team, live),
            )
            call("release")

    def _few(self, team: Team, live: Expr) -> None:
        """Emit at most 16 rows: panel by panel."""
        spec, tensors = self.spec, self.tensors
        panels = T.Select(live > 0, -(-spec.rows // PANEL_ROWS), 0)
        place = self.tensors.sums.address(team.worker, 0)

        def panel(index: Expr) -> None:
            call("zero")
            with loop(spec.depth // DEPTH) as step:
                x = tensors.x.address(0, step * DEPTH + spec.x_start)
                weight = self._weight(index, step, 0)
                prefetch(tensors.weight, index, (step + AHEAD_STEPS) * TILE, 0, 0)
                call("wide_step", x, row_bytes(spec.x_pitch), weight, row_bytes(PAIR_ROW))
            if spec.depth % DEPTH:
                x = self._rest_of_input(live)
                weight = self._rest_of_weight(index, 0)
                call("wide_step", x.address(0, 0), row_bytes(DEPTH), weight, row_bytes(PAIR_ROW))
            call("store", place)
            with loop(live) as row:

                def sums(j: int) -> Expr:
                    return self.tensors.sums[team.worker, lanes(row * LANES + j * SUMS)]

                self.epilogue.finish(row, held(index * PANEL_ROWS), PANEL_VECTORS, sums)

        rows = T.max(live, 1)
        configure(rows, rows)
        team.dynamic(panels, panel)

    def _many(self, team: Team, live: Expr) -> None:
        """Emit any number of rows: items of some rows of the strips of some panels."""
        height = self.blocks.rows
        row_blocks = held((live + (height - 1)) // height)
        strips = -(-padded(self.spec.rows) // STRIP)
        panels = -(-strips // 2)
        # Fewer panels an item where there would be too few items for all workers.
        fair = row_blocks * panels // (team.count * SHARES)
        most = held(T.min(fair, self.blocks.panels - 1) + 1)
        groups = held((panels + most - 1) // most)
        # In strips, evened out over the groups; a panel is two strips.
        width = held((panels + groups - 1) // groups * 2)

        def item(index: Expr) -> None:
            row = held(index % row_blocks * height)
            count = held(T.min(live - row, height))
            strip = held(index // row_blocks * width)
            blocks = held((count + (BLOCK - 1)) // BLOCK)
            here = held(T.min(strips - strip, width))
            self._item(_Item(team.worker, row, count, blocks, strip, here))

        configure(TILE, TILE)
        team.dynamic(groups * row_blocks, item)

    def _item(self, item: _Item) -> None:
        whole = self.spec.depth // DEPTH
        few = item.blocks <= self.blocks.few
        # Few rows wait for memory: longer parts pass over the sums less often.
        part = held(T.Select(few, self.blocks.long_steps, self.blocks.steps))
        parts = held(T.max((whole + part - 1) // part, 1))
        block_floats = (part + 1) * (2 * TILE_FLOATS)
        with loop(parts) as index:
            first = held(index * part)
            steps = Steps(first, held(T.min(whole - first, part)))
            last = T.EQ(index, parts - 1)
            self._pack(item, steps, block_floats, last)
            with loop(item.strips) as turn, loop(item.blocks) as block:
                row = held(block * BLOCK)
                count = held(T.min(item.count - row, BLOCK))
                cell = _Cell(
                    item=item,
                    block=block,
                    row=held(item.row + row),
                    count=count,
                    strip=held(item.strip + turn),
                    sums=held((turn * (self.blocks.rows // BLOCK) + block) * (4 * SUMS)),
                    packed=held(block * block_floats + self.blocks.sums),
                    lower=held(T.Select(count > TILE, TILE_FLOATS, 0)),
                )
                self._part(cell, steps, T.EQ(index, 0), last)

    def _pack(self, item: _Item, steps: Steps, block_floats: Expr, last: Expr) -> None:
        """Emit a copy of a part of the input of an item, tile by tile, two tiles a step."""
        spec, tensors = self.spec, self.tensors
        with loop(item.count) as row:
            place = held(row // BLOCK * block_floats + row % BLOCK * TILE + self.blocks.sums)
            with loop(steps.count) as turn:
                column = (steps.first + turn) * DEPTH + spec.x_start
                values = tensors.x[item.row + row, lanes(column, DEPTH)]
                target = lanes(place + turn * (2 * TILE_FLOATS), TILE)
                self.tensors.sums[item.worker, target] = T.reinterpret(values, dtype=vector.FLOATS)
            if spec.depth % DEPTH:
                with when(last):
                    for half, values in enumerate(self._rest_of_row(item.row + row)):
                        start = place + steps.count * (2 * TILE_FLOATS) + half * (TILE // 2)
                        bits = T.reinterpret(values, dtype="float32x8")
                        self.tensors.sums[item.worker, lanes(start, TILE // 2)] = bits

    def _part(self, cell: _Cell, steps: Steps, first: Expr, last: Expr) -> None:
        """Emit a part of the depth for the rows of a cell."""
        place = self.tensors.sums.address(cell.item.worker, cell.sums)
        panel, half = cell.strip // 2, cell.strip % 2

        def step(turn: Expr, weight: Expr) -> None:
            # Packed input: for each step the tile of rows 0 to 15, then that of rows 16 to 31.
            upper = held(cell.packed + turn * (2 * TILE_FLOATS))
            rows = [
                self.tensors.sums.address(cell.item.worker, each)
                for each in (upper, upper + cell.lower)
            ]
            call("step", *rows, row_bytes(DEPTH), weight, row_bytes(PAIR_ROW))

        with _rows(cell.count):
            choose(first, lambda: call("zero"), lambda: call("load", place))
            with loop(steps.count) as turn:
                step(turn, self._weight(panel, held(steps.first + turn), half))
                self._prefetch(cell, steps, turn)
            if self.spec.depth % DEPTH:
                with when(last):
                    step(steps.count, self._rest_of_weight(panel, half))
            call("store", place)
        with when(last):
            self._finish(cell)

    def _prefetch(self, cell: _Cell, steps: Steps, turn: Expr) -> None:
        """Emit this step's share of the prefetches of the next piece of weight.

        That is the same part of the next panel, after the last panel the next part of the first.
        The cells of a panel share its lines.
        """
        item = cell.item
        panel = cell.strip // 2
        more = (panel + 1) * 2 < item.strip + item.strips
        next_panel = held(T.Select(more, panel + 1, item.strip // 2))
        next_step = held(T.Select(more, steps.first, steps.first + steps.count))
        lines = held(BLOCK // item.blocks)
        # Number of this step among those of all cells of a panel, whose lines they share.
        share = (cell.strip % 2 * item.blocks + cell.block) * steps.count + turn
        with loop(lines) as line:
            place = (share * lines + line) * LANES
            prefetch_far(self.tensors.weight, next_panel, next_step * TILE, place, 0)

    def _weight(self, panel: Expr, step: Expr, half: Expr) -> Expr:
        """The address of a step's weight of a panel or of a strip."""
        return self.tensors.weight.address(panel, step * TILE, half * STRIP, 0)

    def _rest_of_row(self, row: Expr) -> list[Expr]:
        """The values of a row beyond whole steps, padded with zeros: two vectors."""
        spec = self.spec
        left = spec.depth % DEPTH
        return [
            vector.load_u16(
                self.tensors.x,
                row,
                spec.x_start + spec.depth - left + column,
                count=max(0, min(LANES, left - column)),
            )
            for column in range(0, DEPTH, LANES)
        ]

    def _rest_of_input(self, count: Expr) -> Tensor:
        """Emit a copy of the values of the first rows beyond whole steps."""
        copy = scratch((TILE, DEPTH), "uint16")
        with loop(count) as row:
            for half, values in enumerate(self._rest_of_row(row)):
                copy[row, lanes(half * LANES)] = values
        return copy

    def _rest_of_weight(self, panel: Expr, half: Expr) -> Expr:
        """Return the address of the weight beyond whole steps; emit a copy unless zeros follow."""
        left = self.spec.depth % DEPTH
        pair = (self.spec.depth - left) // 2
        if padded(left) == DEPTH:
            return self.tensors.weight.address(panel, pair, half * STRIP, 0)
        copy = scratch((TILE, PAIR_ROW), "uint16")
        with loop(TILE // 2) as row:
            for column in range(0, PAIR_ROW, 2 * LANES):
                here = lanes(column, 2 * LANES)
                copy[row, here] = self.tensors.weight[panel, pair + row, 0, here]
                copy[row + TILE // 2, here] = T.broadcast(T.uint16(0), 2 * LANES)
        return copy.address(0, half * (2 * STRIP))

    def _finish(self, cell: _Cell) -> None:
        """Emit the epilogue of the rows of a cell."""
        outputs = held(cell.strip * STRIP)
        for tile in range(2):
            with loop(T.max(T.min(cell.count - tile * TILE, TILE), 0)) as row:
                first = held(cell.sums + row * LANES + tile * (2 * SUMS))

                def sums(j: int, first: Expr = first) -> Expr:
                    return self.tensors.sums[cell.item.worker, lanes(first + j * SUMS)]

                self.epilogue.finish(
                    held(cell.row + tile * TILE + row), outputs, STRIP // LANES, sums
                )


@contextmanager
def _rows(count: Expr) -> Iterator[None]:
    """Tiles for `count` rows, where they are less than 32, for the statements of the block."""
    few = count < BLOCK
    with when(few):
        configure(T.min(count, TILE), T.max(count - TILE, 1))
    yield
    with when(few):
        configure(TILE, TILE)
