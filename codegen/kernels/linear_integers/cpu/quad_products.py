"""Products of 8-bit integers: four columns of a row of x and of the weight at a time.

A line of codes has four bytes of each of 16 rows: those of columns 0, 2, 1, 3 with 8 bits. With 4
bits the low halves of the bytes are columns 0, 4, 1, 5 and the high ones 2, 6, 3, 7: a shift and
two masks unpack a line. x is prepared in the same order.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import (
    PANEL_VECTORS,
    Column,
    DepthPart,
    DivisionTile,
)
from sala_compile.codegen.kernels.linear_integers.cpu.integer_operands import IntegerOperands
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import LINE
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    held,
    lanes,
    let,
    loop,
    prefetch,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.layouts.panels import PANEL_ROWS

BYTES = 4 * LANES
"""Bytes in a vector."""
WORDS = f"uint16x{LINE}"
LOW_HALVES = 0x0F0F
"""The low four bits of both bytes of a word."""


@dataclass(frozen=True, slots=True)
class QuadOperands(IntegerOperands):
    """Bytes of integers as they are stored times bytes of x; zeros are subtracted per block."""

    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the bytes of a part of a panel, unless they are stored as such."""
        spec = self.spec
        if not spec.expands:
            return
        lines = spec.block // spec.line
        with loop(part.blocks * lines) as step:
            line = held(part.first * lines + step)
            for j in range(PANEL_VECTORS):
                # [16 rows x 4 bytes]; with 4 bits a byte has two codes: a line gives two quads.
                word = self.weights.line(panel, line, j)
                for q in range(spec.quads):
                    place = (step * spec.quads + q) * (4 * PANEL_ROWS) + j * BYTES
                    self.weights.unpacked[part.worker, lanes(place, BYTES)] = self._quad(word, q)

    def multiply_expanded(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a block from bytes that were unpacked, or stored as such."""
        self._start(tile, index, columns, sums)
        quads = self.spec.block // 4
        with loop(quads) as quad:
            words = [self._expanded(tile, index, quad, column) for column in columns]
            self._multiply(tile, index, quad, words, sums)

    def multiply_stored(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a block, unpacking the weight on the way."""
        self._start(tile, index, columns, sums)
        spec, weights = self.spec, self.weights
        lines = spec.block // spec.line
        with loop(lines) as step:
            line = held(index * lines + step)
            words = [weights.line(panel, line, j) for panel, j in columns]
            for panel, j in columns:
                prefetch(self.tensors.codes, panel, line + self.schedule.ahead, j * LANES, 0)
            for q in range(spec.quads):
                quads = [self._quad(word, q) for word in words]
                self._multiply(tile, index, step * spec.quads + q, quads, sums)

    def _expanded(self, tile: DivisionTile, index: Expr, quad: Expr, column: Column) -> Expr:
        """A quad of a column of a block of a part, as it was prepared."""
        (panel, j), quads = column, self.spec.block // 4
        if self.spec.expands:
            place = (index * quads + quad) * (4 * PANEL_ROWS) + j * BYTES
            return let(self.weights.unpacked[tile.part.worker, lanes(place, BYTES)])
        return self._quad(self.weights.line(panel, (tile.part.first + index) * quads + quad, j), 0)

    def _quad(self, line: Expr, index: int) -> Expr:
        """Quad `index` of a line as bytes."""
        if self.spec.bits == 4:
            # The shift moves whole 16-bit words: what crosses a byte is masked off.
            if index:
                line = T.shift_right(line, T.broadcast(T.uint16(4), LINE))
            line = line & T.broadcast(T.uint16(LOW_HALVES), LINE)
        return let(T.reinterpret(line, dtype=f"uint8x{BYTES}"))

    def _start(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit what the zeros subtract from the sums of a block."""
        zeros = self._zeros(tile, index, columns)
        for i in range(tile.rows):
            row = (tile.row + i) * tile.part.pitch + index
            taken = let(T.broadcast(self.tensors.x_sums[tile.part.worker, row], LANES))
            for n in range(len(columns)):
                cell = i * len(columns) + n
                # The zero of a row in the low word, 0 in the high one: one product of words
                # subtracts sum(x) * zero, which `taken` has negated.
                if zeros:
                    nothing = T.broadcast(T.int32(0), LANES)
                    words = T.reinterpret(taken, dtype=WORDS)
                    sums[cell] = vector.dot_i16(nothing, zeros[n], words)
                else:
                    sums[cell] = taken

    def _zeros(self, tile: DivisionTile, index: Expr, columns: list[Column]) -> list[Expr]:
        """The zeros of columns if there are any, with words of 0 otherwise."""
        zeros = self.tensors.find("zeros")
        if zeros is None:
            return []
        group = self.weights.group(held(tile.part.first + index))
        stored = [zeros[panel, group, lanes(j * LANES)] for panel, j in columns]
        return [let(T.reinterpret(T.Cast(f"uint32x{LANES}", zero), dtype=WORDS)) for zero in stored]

    def _multiply(
        self, tile: DivisionTile, index: Expr, quad: Expr, words: list[Expr], sums: Registers
    ) -> None:
        """Emit the products of four columns of a block."""
        for i in range(tile.rows):
            row = (tile.row + i) * tile.part.pitch + index
            place = row * self.spec.block + quad * 4
            x = vector.spread_quad(self.tensors.x_values, tile.part.worker, place)
            for n, word in enumerate(words):
                cell = i * len(words) + n
                sums[cell] = vector.dot_bytes(sums[cell], word, x, bits=self.spec.bits)
