"""The linear by multiply-adds of floats, where no instruction multiplies bf16 fast enough.

Rows are widened to floats once in a worker's scratch memory; the weight in registers where rows
are few, in scratch where they are many. Every sum takes k in ascending order.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import (
    PANEL_VECTORS,
    Ahead,
    Column,
    DepthPart,
    DivisionTile,
)
from sala_compile.codegen.kernels.linear.cpu.schedule import Blocks
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    Tensors,
    held,
    lanes,
    let,
    loop,
    prefetch,
    prefetch_far,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import split_pairs
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS


@dataclass(frozen=True, slots=True)
class WidenedOperands:
    """Rows and weights as floats; a block of the depth is 16 values.

    The workspace `sums` holds the sums of a worker, then its rows of x, then a part of a panel.
    """

    spec: Spec
    blocks: Blocks
    tensors: Tensors

    @property
    def depth_blocks(self) -> int:
        """Blocks of the depth."""
        return padded(self.spec.depth) // LANES

    @property
    def part_blocks(self) -> int:
        """Blocks of a part where rows are many."""
        return self.blocks.depth // LANES

    def prepare(self, part: DepthPart, *, expanded: bool) -> None:
        """Emit the widening of the rows of a part."""
        spec = self.spec
        whole, left = divmod(spec.depth, LANES)
        with loop(part.count) as row:
            place = held(self._x(part, row))
            with loop(T.max(T.min(part.blocks, whole - part.first), 0)) as index:
                column = held((part.first + index) * LANES + spec.x_start)
                ahead = column + part.pitch * LANES
                prefetch(self.tensors.x, part.row + row, ahead)
                value = spec.weight.load(self.tensors.x, part.row + row, column)
                self.tensors.sums[part.worker, lanes(place + index * LANES)] = value
            if left:
                with when(part.first + part.blocks > whole):
                    column = held(whole * LANES + spec.x_start)
                    value = spec.weight.load(self.tensors.x, part.row + row, column, count=left)
                    last = held(place + (whole - part.first) * LANES)
                    self.tensors.sums[part.worker, lanes(last)] = value

    def _x(self, part: DepthPart, row: Expr) -> Expr:
        """Where a prepared row begins."""
        return self.blocks.sums + row * (part.pitch * LANES)

    @property
    def _panel(self) -> int:
        """Where a widened part of a panel begins."""
        return self.blocks.sums + self.blocks.x_values(self.spec)

    @property
    def part_lines(self) -> int:
        """Lines of 64 bytes of weight in a part of a panel."""
        return self.blocks.depth // self.spec.weight.pack * PANEL_VECTORS

    def prefetch(self, ahead: Ahead, line: Expr) -> None:
        """Emit the prefetch of a line of the weight that is needed next."""
        step = ahead.first * (LANES // self.spec.weight.pack)
        prefetch_far(self.tensors.weight, ahead.panel, step, line * LANES, 0)

    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the widening of a part of a panel."""
        pack = self.spec.weight.pack
        first = self._panel
        with loop(part.blocks * (LANES // pack)) as index:
            step = held(part.first * (LANES // pack) + index)
            for j in range(PANEL_VECTORS):
                for half, value in enumerate(self._values(panel, step, j)):
                    place = first + (index * pack + half) * PANEL_ROWS + j * LANES
                    self.tensors.sums[part.worker, lanes(place)] = value

    def _values(self, panel: Expr, step: Expr, j: Expr) -> tuple[Expr, ...]:
        """The floats of a step of vector j of a panel, k ascending."""
        packs = self.spec.weight.operand(self.tensors.weight, panel, step, j * LANES, 0)
        return (packs,) if self.spec.weight is Element.F32 else split_pairs(packs)

    def add(self, tile: DivisionTile, *, expanded: bool) -> None:
        """Emit sums += x W^T for a tile, with the weight as it is stored or as prepared."""
        width = self.blocks.vectors(tile.rows)
        worker = tile.part.worker
        with loop(PANEL_VECTORS // width) as turn:
            columns = tile.columns(turn * width, width)
            cells = [held(cell) for cell in tile.cells(columns)]
            sums = registers(len(cells))
            for index, cell in enumerate(cells):
                sums[index] = self.tensors.sums[worker, lanes(cell)]
            accumulate = self._from_scratch if expanded else self._from_weight
            accumulate(tile, columns, sums)
            for index, cell in enumerate(cells):
                self.tensors.sums[worker, lanes(cell)] = sums[index]

    def _from_scratch(self, tile: DivisionTile, columns: list[Column], sums: Registers) -> None:
        first = self._panel
        with loop(tile.part.blocks * LANES) as k:
            values = [
                let(self.tensors.sums[tile.part.worker, lanes(first + k * PANEL_ROWS + j * LANES)])
                for _, j in columns
            ]
            self._multiply(tile, k, values, sums)

    def _from_weight(self, tile: DivisionTile, columns: list[Column], sums: Registers) -> None:
        pack = self.spec.weight.pack
        with loop(self.depth_blocks * (LANES // pack)) as step:
            for panel, j in columns:
                prefetch(self.tensors.weight, panel, step + self.blocks.ahead, j * LANES, 0)
            steps = [self._values(panel, step, j) for panel, j in columns]
            for half, values in enumerate(zip(*steps, strict=True)):
                self._multiply(tile, step * pack + half, list(values), sums)

    def _multiply(self, tile: DivisionTile, k: Expr, values: list[Expr], sums: Registers) -> None:
        """Emit the products of column k of a part."""
        for i in range(tile.rows):
            place = self._x(tile.part, tile.row + i) + k
            x = let(splat(self.tensors.sums[tile.part.worker, place]))
            for n, value in enumerate(values):
                cell = i * len(values) + n
                sums[cell] = vector.fma(x, value, sums[cell])
