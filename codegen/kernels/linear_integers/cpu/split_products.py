"""Products of few rows of 16-bit integers, each as two bytes, by codes of less than 8 bits.

A code as a byte is the same number signed and unsigned, so that one instruction adds four products
with the low bytes of x, which have no sign, and one with the high bytes, which have: as many as by
pairs, but a code is unpacked to a byte instead of two and no zero is subtracted from it. All is
exact, so the sums are those of pairs.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import Column, DepthPart, DivisionTile
from sala_compile.codegen.kernels.linear_integers.cpu.pair_products import PairOperands
from sala_compile.codegen.kernels.linear_integers.cpu.split_activations import SplitActivations
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Registers, registers
from sala_compile.codegen.kernels.tir.ir import T


@dataclass(frozen=True, slots=True)
class SplitOperands(PairOperands):
    """Pairs where rows are many, bytes where they are few."""

    def prepare(self, part: DepthPart, *, expanded: bool) -> None:
        """Emit the integers of the rows of a part, whole or as bytes."""
        rows = self.activations if expanded else SplitActivations(self.spec, self.tensors)
        rows.prepare(part)

    def sums_of(self, rows: int, *, expanded: bool) -> int:
        """Sums in registers for each vector of columns: of low and of high bytes."""
        return rows * self.spec.terms * (1 if expanded else 2)

    def multiply_stored(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span, unpacking the weight on the way."""
        spec, width = self.spec, len(columns)
        cells = tile.rows * spec.terms * width
        high = registers(cells, "int32")
        self.clear(cells, high)
        if spec.has_minima:
            self.clear(cells, sums)
        else:
            self.take_zeros(tile, index, columns, sums)
        read = self.weights.quad
        for number, quads in self.unpacked(tile, index, columns, spec.quads, read):
            for i in range(tile.rows * spec.terms):
                low_x, high_x = self._x(tile, i, index, number)
                for n, quad in quads.items():
                    cell = i * width + n
                    sums[cell] = vector.dot_bytes(sums[cell], low_x, quad, bits=spec.bits)
                    high[cell] = vector.dot_bytes(high[cell], quad, high_x, bits=spec.bits)
        for cell in range(cells):
            sums[cell] = sums[cell] + T.shift_left(high[cell], T.broadcast(T.int32(8), LANES))

    def _x(self, tile: DivisionTile, term: int, index: Expr, quad: Expr) -> tuple[Expr, Expr]:
        """The low and the high bytes of four values of an integer of a row, repeated."""
        span = self.spec.span
        row = tile.row * self.spec.terms + term
        place = (row * (tile.part.pitch * self.spec.spans) + index) * span + quad * 2
        x, worker = self.tensors.x_values, tile.part.worker
        return tuple(vector.spread_pair(x, worker, place + start) for start in (0, span // 2))
