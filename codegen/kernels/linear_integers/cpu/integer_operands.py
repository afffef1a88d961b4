"""Sums of a linear with integer weights: exact in a block of the depth, then scaled."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import (
    PANEL_VECTORS,
    Ahead,
    Column,
    DepthPart,
    DivisionTile,
)
from sala_compile.codegen.kernels.linear_integers.cpu.integer_activations import IntegerRows
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import (
    BYTES,
    PanelWeights,
    Read,
)
from sala_compile.codegen.kernels.linear_integers.cpu.schedule import Schedule
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
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
    prefetch_far,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.ir import T

STRETCH_BYTES = 4 << 10
"""Of a panel's codes, that few rows multiply before they go on: with those fetched meanwhile, and
with x, they fit a first-level cache."""
TERM_STEP = 2.0**-15
"""The scale of the second of two integers of a value, relative to the first's."""


@dataclass(frozen=True, slots=True)
class IntegerOperands(ABC):
    """Rows of integers times integer weights.

    A span of the depth gives an exact 32-bit sum. The sums of the spans of a block are scaled by
    the weight and added in float32, in ascending order; then those of blocks, scaled by x. So rows
    have the same bits in any tile.
    """

    spec: Spec
    schedule: Schedule
    activations: IntegerRows
    weights: PanelWeights
    tensors: Tensors

    @abstractmethod
    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the preparation of a part of a panel."""

    @abstractmethod
    def multiply_stored(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of span `index` of a part, with the weight as it is stored."""

    @abstractmethod
    def multiply_expanded(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of span `index` of a part, with the weight as it was prepared."""

    @property
    def depth_blocks(self) -> int:
        """Blocks of the depth."""
        return self.spec.padded_depth // self.spec.block

    @property
    def part_blocks(self) -> int:
        """Blocks of a part where rows are many."""
        return self.schedule.part_blocks(self.spec)

    def prepare(self, part: DepthPart, *, expanded: bool) -> None:
        """Emit the preparation of the rows of a part."""
        self.activations.prepare(part)

    def sums_of(self, rows: int, *, expanded: bool) -> int:
        """Sums in registers for each vector of columns, of so many rows."""
        return rows * self.spec.terms

    @property
    def part_lines(self) -> int:
        """Lines of 64 bytes of weight in a part of a panel."""
        return self.part_blocks * self._block_lines * PANEL_VECTORS

    @property
    def _block_lines(self) -> int:
        """Lines of a vector of a panel in a block."""
        return self.spec.block // self.spec.unit * self.spec.lines

    def prefetch(self, ahead: Ahead, line: Expr) -> None:
        """Emit the prefetch of a line of the weight that is needed next."""
        first = ahead.first * self._block_lines
        prefetch_far(self.tensors.codes, ahead.panel, first, line * LANES, 0)

    def add(self, tile: DivisionTile, *, expanded: bool) -> None:
        """Emit sums += x W^T for a tile, with the weight as it is stored or as prepared.

        Rows whose sums leave no room for all columns of a panel read it several times, a stretch
        at a time, while the next stretch is fetched.
        """
        width = self.schedule.vectors(self.sums_of(tile.rows, expanded=expanded))
        blocks, size = tile.part.blocks, None if expanded else self._stretch(tile.rows)

        def turns(first: Expr, count: Expr) -> None:
            with loop(PANEL_VECTORS // width) as turn, loop(count) as step:
                self._add_block(tile, held(first + step), turn, width, expanded=expanded)

        if size is None:
            turns(0, blocks)
            return
        with loop(-(-blocks // size)) as stretch:
            first = held(stretch * size)
            turns(first, held(T.min(blocks - first, size)))

    def _add_block(
        self, tile: DivisionTile, block: Expr, turn: Expr, width: int, *, expanded: bool
    ) -> None:
        """Emit the addition of a block of the depth to the sums of some columns."""
        multiply = self.multiply_expanded if expanded else self.multiply_stored
        columns = tile.columns(turn * width, width)
        scaled = registers(tile.rows * len(columns)).fill(tile.rows * len(columns))
        with loop(self.spec.spans) as span:
            index = held(block * self.spec.spans + span)
            sums = registers(tile.rows * self.spec.terms * len(columns), "int32")
            multiply(tile, index, columns, sums)
            if not expanded:
                self._prefetch_scales(tile, index, columns)
            self._scale(tile, index, columns, sums, scaled)
        self._add(tile, block, columns, scaled)

    def _stretch(self, rows: int) -> int | None:
        """Blocks of a stretch of so many rows; None if they read a panel once."""
        if self.schedule.vectors(self.sums_of(rows, expanded=False)) == PANEL_VECTORS:
            return None
        return max(1, STRETCH_BYTES // (self._block_lines * PANEL_VECTORS * BYTES))

    def _prefetch_scales(self, tile: DivisionTile, index: Expr, columns: list[Column]) -> None:
        """Emit the prefetch of the scales of a span of the next stretch, if there are stretches."""
        size = self._stretch(tile.rows)
        if size is not None:
            (panel, j), group = columns[0], self.weights.group(index)
            ahead = max(1, size * self.spec.block // self.spec.group)
            self.weights.prefetch_scales(panel, held(group + ahead), j)

    def unpacked(
        self, tile: DivisionTile, index: Expr, columns: list[Column], places: int, read: Read
    ) -> Iterator[tuple[Expr, dict[int, Expr]]]:
        """Emit the unpacking of a span; a single row has its columns one after the other."""
        alone, size = tile.rows * self.spec.terms == 1, self._stretch(tile.rows)
        ahead = self.schedule.ahead if size is None else size * self._block_lines
        return self.weights.span(index, columns, places, read, alone=alone, ahead=ahead)

    def clear(self, cells: int, sums: Registers) -> None:
        """Emit sums of 0."""
        for cell in range(cells):
            sums[cell] = T.broadcast(T.int32(0), LANES)

    def take_zeros(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit what zeros take from the sums of a span: x_sums has it, or so many times."""
        terms, width = self.spec.terms, len(columns)
        group = self.weights.group(held(tile.part.first * self.spec.spans + index))
        zeros = [self.weights.zeros(panel, group, j) for panel, j in columns]
        for i in range(tile.rows * terms):
            row = (tile.row * terms + i) * (tile.part.pitch * self.spec.spans) + index
            taken = let(T.broadcast(self.tensors.x_sums[tile.part.worker, row], LANES))
            for n in range(width):
                zero = zeros[n]
                sums[i * width + n] = taken if zero is None else self.times_zero(zero, taken)

    def times_zero(self, zero: Expr, taken: Expr) -> Expr:
        """What zeros of 16 rows take from the sums of a span."""
        return zero * taken

    def _scale(
        self,
        tile: DivisionTile,
        index: Expr,
        columns: list[Column],
        sums: Registers,
        scaled: Registers,
    ) -> None:
        """Emit the addition of a span's sums, scaled by the weight, to those of the block.

        Minima are added as often as x adds up to in the span.
        """
        terms, width = self.spec.terms, len(columns)
        group = self.weights.group(held(tile.part.first * self.spec.spans + index))
        scales = [self.weights.scale(panel, group, j) for panel, j in columns]
        minima = []
        if self.spec.has_minima:
            minima = [self.weights.scale(panel, group, j, 1) for panel, j in columns]
        for i in range(tile.rows):
            added = self._sum_of_x(tile, i, index) if minima else splat(0.0)
            for n in range(width):
                # [rows, terms, columns]: the second term of a value is 2^-15 of the first.
                cell = i * terms * width + n
                value = T.Cast(vector.FLOATS, sums[cell])
                if terms == 2:
                    low = T.Cast(vector.FLOATS, sums[cell + width])
                    value = vector.fma(low, splat(TERM_STEP), value)
                here = i * width + n
                scaled[here] = vector.fma(value, scales[n], scaled[here])
                if minima:
                    scaled[here] = vector.fma(added, minima[n], scaled[here])

    def _sum_of_x(self, tile: DivisionTile, row: int, index: Expr) -> Expr:
        """What a row of x adds up to in a span, in steps of its block."""
        place = (tile.row + row) * (tile.part.pitch * self.spec.spans) + index
        return let(splat(T.Cast("float32", self.tensors.x_sums[tile.part.worker, place])))

    def _add(
        self, tile: DivisionTile, block: Expr, columns: list[Column], scaled: Registers
    ) -> None:
        """Emit the addition of a block's sums, scaled by x, to those before."""
        worker = tile.part.worker
        cells = tile.cells(columns)
        for i in range(tile.rows):
            row = (tile.row + i) * tile.part.pitch + block
            scale = let(splat(self.tensors.x_scales[worker, row]))
            for cell in range(i * len(columns), (i + 1) * len(columns)):
                here = lanes(cells[cell])
                self.tensors.sums[worker, here] = vector.fma(
                    scaled[cell], scale, self.tensors.sums[worker, here]
                )
