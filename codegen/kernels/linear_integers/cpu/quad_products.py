"""Products of 8-bit integers: four columns of a row of x and of the weight at a time.

A line of codes has four bytes of each of 16 rows: those of columns 0, 2, 1, 3 with 8 bits. With 4
bits the low halves of the bytes are columns 0, 4, 1, 5 and the high ones 2, 6, 3, 7: a shift and
two masks unpack a line. x is prepared in the same order.
"""

from dataclasses import dataclass

import numpy as np

from sala_compile.codegen.kernels.linear.cpu.block_division import (
    PANEL_VECTORS,
    Column,
    DepthPart,
    DivisionTile,
)
from sala_compile.codegen.kernels.linear_integers.cpu.integer_operands import IntegerOperands
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import BYTES, WORDS
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    held,
    lanes,
    let,
    loop,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.layouts.panels import PANEL_ROWS


@dataclass(frozen=True, slots=True)
class QuadOperands(IntegerOperands):
    """Bytes of integers as they are stored times bytes of x; zeros are subtracted per block."""

    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the bytes of a part of a panel, unless they are stored as such."""
        spec, weights = self.spec, self.weights
        if not spec.expands:
            return
        units = spec.block // spec.unit
        with loop(part.blocks * units) as step:
            unit = held(part.first * units + step)
            for j in range(PANEL_VECTORS):
                high = weights.high(panel, unit, j)
                for line, half in np.ndindex(spec.low_lines, spec.quads):
                    quad = weights.quad(weights.line(panel, unit, line, j), high, line, half)
                    number = (step * spec.low_lines + line) * spec.quads + half
                    # [16 rows x 4 bytes]
                    place = number * (4 * PANEL_ROWS) + j * BYTES
                    weights.unpacked[part.worker, lanes(place, BYTES)] = quad

    def multiply_expanded(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span from bytes that were unpacked, or stored as such."""
        self._start(tile, index, columns, sums)
        quads = self.spec.span // 4
        with loop(quads) as quad:
            words = dict(enumerate(self._expanded(tile, index, quad, column) for column in columns))
            self._multiply(tile, index, quad, words, len(columns), sums)

    def multiply_stored(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span, unpacking the weight on the way."""
        self._start(tile, index, columns, sums)
        read = self.weights.quad
        for number, quads in self.unpacked(tile, index, columns, self.spec.quads, read):
            self._multiply(tile, index, number, quads, len(columns), sums)

    def _expanded(self, tile: DivisionTile, index: Expr, quad: Expr, column: Column) -> Expr:
        """A quad of a column of a span of a part, as it was prepared."""
        (panel, j), quads = column, self.spec.span // 4
        if self.spec.expands:
            place = (index * quads + quad) * (4 * PANEL_ROWS) + j * BYTES
            return let(self.weights.unpacked[tile.part.worker, lanes(place, BYTES)])
        unit = (tile.part.first * self.spec.spans + index) * quads + quad
        return self.weights.quad(self.weights.line(panel, unit, 0, j), None, 0, 0)

    def _start(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit what the zeros take from the sums of a span; minima leave them 0."""
        if self.spec.has_minima:
            self.clear(tile.rows * len(columns), sums)
        else:
            self.take_zeros(tile, index, columns, sums)

    def times_zero(self, zero: Expr, taken: Expr) -> Expr:
        """What zeros of 16 rows take from the sums of a span, both of which fit 16 bits."""
        nothing = T.broadcast(T.int32(0), LANES)
        # The zero in the low word, 0 in the high one: one product of words.
        zero, taken = (T.reinterpret(each, dtype=WORDS) for each in (zero, taken))
        return vector.dot_i16(nothing, zero, taken)

    def _multiply(
        self,
        tile: DivisionTile,
        index: Expr,
        quad: Expr,
        words: dict[int, Expr],
        width: int,
        sums: Registers,
    ) -> None:
        """Emit the products of four values of k of some of `width` columns."""
        for i in range(tile.rows):
            row = (tile.row + i) * (tile.part.pitch * self.spec.spans) + index
            place = row * self.spec.span + quad * 4
            x = vector.spread_quad(self.tensors.x_values, tile.part.worker, place)
            for n, word in words.items():
                cell = i * width + n
                sums[cell] = vector.dot_bytes(sums[cell], word, x, bits=self.spec.bits)
