"""Products of 16-bit integers: pairs of neighbours of a row of x and of the weight."""

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

PAIRS = f"int16x{LINE}"
"""The type of a pair of neighbours of each of 16 rows of the weight."""
WORDS = f"uint16x{LINE}"


@dataclass(frozen=True, slots=True)
class PairOperands(IntegerOperands):
    """Pairs of integers less their zeros, exact in 16 bits, times pairs of x."""

    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the pairs of a part of a panel."""
        spec, weights = self.spec, self.weights
        lines = spec.span // spec.line
        with loop(part.blocks * spec.spans) as index:
            span = held(part.first * spec.spans + index)
            group = weights.group(span)
            zeros = [self._zero(panel, group, j) for j in range(PANEL_VECTORS)]
            with loop(lines) as step:
                line = held(span * lines + step)
                pair = held((index * lines + step) * spec.lane)
                for j in range(PANEL_VECTORS):
                    word = weights.line(panel, line, j)
                    for q in range(spec.lane):
                        place = (pair + q) * (2 * PANEL_ROWS) + j * LINE
                        pairs = T.reinterpret(self._unpack(word, q, zeros[j]), dtype=WORDS)
                        weights.unpacked[part.worker, lanes(place, LINE)] = pairs

    def multiply_expanded(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span from pairs that were unpacked."""
        self._clear(tile, columns, sums)
        pairs = self.spec.span // 2
        with loop(pairs) as pair:
            places = [(index * pairs + pair) * (2 * PANEL_ROWS) + j * LINE for _, j in columns]
            words = [
                let(self.weights.unpacked[tile.part.worker, lanes(place, LINE)]) for place in places
            ]
            self._multiply(tile, index, pair, words, sums)

    def multiply_stored(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span, unpacking the weight on the way."""
        self._clear(tile, columns, sums)
        spec, weights = self.spec, self.weights
        lines = spec.span // spec.line
        group = weights.group(index)
        zeros = [self._zero(panel, group, j) for panel, j in columns]
        with loop(lines) as step:
            line = held(index * lines + step)
            words = [weights.line(panel, line, j) for panel, j in columns]
            for panel, j in columns:
                prefetch(self.tensors.codes, panel, line + self.schedule.ahead, j * LANES, 0)
            for q in range(spec.lane):
                pairs = [
                    self._unpack(word, q, zero) for word, zero in zip(words, zeros, strict=True)
                ]
                self._multiply(tile, index, step * spec.lane + q, pairs, sums)

    def _clear(self, tile: DivisionTile, columns: list[Column], sums: Registers) -> None:
        for cell in range(tile.rows * self.spec.terms * len(columns)):
            sums[cell] = T.broadcast(T.int32(0), LANES)

    def _multiply(
        self, tile: DivisionTile, index: Expr, pair: Expr, words: list[Expr], sums: Registers
    ) -> None:
        """Emit the products of a pair of columns of a span."""
        spec = self.spec
        for i in range(tile.rows * spec.terms):
            row = tile.row * spec.terms + i
            place = (row * (tile.part.pitch * spec.spans) + index) * spec.span + pair * 2
            x = vector.spread_pair(self.tensors.x_values, tile.part.worker, place)
            for j, word in enumerate(words):
                cell = i * len(words) + j
                sums[cell] = vector.dot_i16(sums[cell], word, x)

    def _zero(self, panel: Expr, group: Expr, j: Expr) -> Expr:
        """The zeros of vector j of a panel, as pairs."""
        zeros = self.tensors.find("zeros")
        if zeros is None:
            return T.broadcast(T.int16(1 << (self.spec.bits - 1)), LINE)
        words = T.Cast(f"uint32x{LANES}", zeros[panel, group, lanes(j * LANES)])
        both = T.bitwise_or(words, T.shift_left(words, T.broadcast(T.uint32(16), LANES)))
        return let(T.reinterpret(both, dtype=PAIRS))

    def _unpack(self, line: Expr, index: int, zero: Expr) -> Expr:
        """Pair `index` of a line, less the zeros."""
        bits = self.spec.bits
        if index:
            line = T.shift_right(line, T.broadcast(T.uint16(bits * index), LINE))
        if index + 1 < self.spec.lane:
            line = line & T.broadcast(T.uint16((1 << bits) - 1), LINE)
        return let(T.reinterpret(line, dtype=PAIRS) - zero)
