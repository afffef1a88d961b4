"""Sums of a linear with integer weights: exact in a block of the depth, then scaled."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from codegen.kernels.linear.blocks import PANEL_VECTORS, Ahead, Part, Tile
from codegen.kernels.linear.layout import PANEL_ROWS
from codegen.kernels.linear_integers.activations import Activations
from codegen.kernels.linear_integers.spec import Schedule, Spec
from codegen.kernels.linear_integers.weights import Weights
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    Tensor,
    held,
    lanes,
    let,
    loop,
    prefetch_far,
    registers,
    splat,
)
from codegen.kernels.tir.ir import T

TERM_STEP = 2.0**-15
"""Of the second of two integers that stand for a value, beside the first."""


@dataclass(frozen=True, slots=True)
class IntegerOperands(ABC):
    """Rows of integers times integer weights.

    A block of the depth gives an exact 32-bit sum; the sums of blocks are scaled and added in
    float32, in ascending order. So rows have the same bits in any tile.
    """

    spec: Spec
    schedule: Schedule
    activations: Activations
    weights: Weights
    sums: Tensor

    @abstractmethod
    def expand(self, part: Part, panel: Expr) -> None:
        """Emit the preparation of a part of a panel."""

    @abstractmethod
    def multiply_stored(
        self, tile: Tile, index: Expr, vectors: list[Expr], sums: Registers
    ) -> None:
        """Emit the sums of block `index` of a part, with the weight as it is stored."""

    @abstractmethod
    def multiply_expanded(
        self, tile: Tile, index: Expr, vectors: list[Expr], sums: Registers
    ) -> None:
        """Emit the sums of block `index` of a part, with the weight as it was prepared."""

    @property
    def depth_blocks(self) -> int:
        """Blocks of the depth."""
        return self.spec.padded_depth // self.spec.block

    @property
    def part_blocks(self) -> int:
        """Blocks of a part where rows are many."""
        return self.schedule.part_blocks(self.spec)

    def prepare(self, part: Part) -> None:
        """Emit the preparation of the rows of a part."""
        self.activations.prepare(part)

    @property
    def part_lines(self) -> int:
        """Lines of 64 bytes of weight in a part of a panel."""
        return self.part_blocks * self.spec.block // self.spec.line * PANEL_VECTORS

    def prefetch(self, ahead: Ahead, line: Expr) -> None:
        """Emit the prefetch of a line of the weight that is needed next."""
        first = ahead.first * (self.spec.block // self.spec.line)
        prefetch_far(self.weights.codes, ahead.panel, first, line * LANES, 0)

    def add(self, tile: Tile, *, expanded: bool) -> None:
        """Emit sums += x W^T for a tile, with the weight as it is stored or as prepared."""
        rows = tile.rows * self.spec.terms
        width = self.schedule.blocks.vectors(rows)
        multiply = self.multiply_expanded if expanded else self.multiply_stored
        with loop(PANEL_VECTORS // width) as turn, loop(tile.part.blocks) as index:
            vectors = [held(turn * width + n) for n in range(width)]
            sums = registers(rows * width, "int32")
            multiply(tile, index, vectors, sums)
            self._scale(tile, index, vectors, sums)

    def _scale(self, tile: Tile, index: Expr, vectors: list[Expr], sums: Registers) -> None:
        """Emit the addition of a block's sums, scaled, to those before."""
        worker, terms = tile.part.worker, self.spec.terms
        group = self.weights.group(held(tile.part.first + index))
        scales = [self.weights.scale(tile.panel, group, j) for j in vectors]
        for i in range(tile.rows):
            row = (tile.row + i) * tile.part.pitch + index
            scale = let(splat(self.activations.scales[worker, row]))
            for n, j in enumerate(vectors):
                cell = i * terms * len(vectors) + n
                value = T.Cast(vector.FLOATS, sums[cell])
                if terms == 2:
                    low = T.Cast(vector.FLOATS, sums[cell + len(vectors)])
                    value = vector.fma(low, splat(TERM_STEP), value)
                here = lanes((tile.sums + i) * PANEL_ROWS + j * LANES)
                self.sums[worker, here] = vector.fma(
                    value * scale, scales[n], self.sums[worker, here]
                )
