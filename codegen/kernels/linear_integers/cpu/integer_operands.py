"""Sums of a linear with integer weights: exact in a block of the depth, then scaled."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import (
    PANEL_VECTORS,
    Ahead,
    Column,
    DepthPart,
    DivisionTile,
)
from sala_compile.codegen.kernels.linear_integers.cpu.integer_activations import IntegerRows
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import PanelWeights
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

    def prepare(self, part: DepthPart) -> None:
        """Emit the preparation of the rows of a part."""
        self.activations.prepare(part)

    @property
    def part_lines(self) -> int:
        """Lines of 64 bytes of weight in a part of a panel."""
        return self.part_blocks * self.spec.block // self.spec.line * PANEL_VECTORS

    def prefetch(self, ahead: Ahead, line: Expr) -> None:
        """Emit the prefetch of a line of the weight that is needed next."""
        first = ahead.first * (self.spec.block // self.spec.line)
        prefetch_far(self.tensors.codes, ahead.panel, first, line * LANES, 0)

    def add(self, tile: DivisionTile, *, expanded: bool) -> None:
        """Emit sums += x W^T for a tile, with the weight as it is stored or as prepared."""
        rows = tile.rows * self.spec.terms
        width = self.schedule.vectors(rows)
        multiply = self.multiply_expanded if expanded else self.multiply_stored
        with loop(PANEL_VECTORS // width) as turn, loop(tile.part.blocks) as block:
            columns = tile.columns(turn * width, width)
            scaled = registers(tile.rows * len(columns)).fill(tile.rows * len(columns))
            with loop(self.spec.spans) as span:
                index = held(block * self.spec.spans + span)
                sums = registers(rows * len(columns), "int32")
                multiply(tile, index, columns, sums)
                self._scale(tile, index, columns, sums, scaled)
            self._add(tile, block, columns, scaled)

    def _scale(
        self,
        tile: DivisionTile,
        index: Expr,
        columns: list[Column],
        sums: Registers,
        scaled: Registers,
    ) -> None:
        """Emit the addition of a span's sums, scaled by the weight, to those of the block."""
        terms, width = self.spec.terms, len(columns)
        group = self.weights.group(held(tile.part.first * self.spec.spans + index))
        scales = [self.weights.scale(panel, group, j) for panel, j in columns]
        for i in range(tile.rows):
            for n in range(width):
                # [rows, terms, columns]: the second term of a value is 2^-15 of the first.
                cell = i * terms * width + n
                value = T.Cast(vector.FLOATS, sums[cell])
                if terms == 2:
                    low = T.Cast(vector.FLOATS, sums[cell + width])
                    value = vector.fma(low, splat(TERM_STEP), value)
                here = i * width + n
                scaled[here] = vector.fma(value, scales[n], scaled[here])

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
