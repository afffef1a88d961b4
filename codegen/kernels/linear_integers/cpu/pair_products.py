"""Products of 16-bit integers: pairs of neighbours of a row of x and of the weight."""

from dataclasses import dataclass

import numpy as np

from sala_compile.codegen.kernels.linear.cpu.block_division import (
    PANEL_VECTORS,
    Column,
    DepthPart,
    DivisionTile,
)
from sala_compile.codegen.kernels.linear_integers.cpu.integer_operands import IntegerOperands
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import LINE, WORDS
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

PAIRS = f"int16x{LINE}"
"""The type of a pair of neighbours of each of 16 rows of the weight."""


@dataclass(frozen=True, slots=True)
class PairOperands(IntegerOperands):
    """Pairs of integers less their zeros, exact in 16 bits, times pairs of x."""

    def expand(self, part: DepthPart, panel: Expr) -> None:
        """Emit the pairs of a part of a panel."""
        spec, weights = self.spec, self.weights
        with loop(part.blocks * spec.spans) as index:
            span = held(part.first * spec.spans + index)
            group = weights.group(span)
            zeros = [self._zero(panel, group, j) for j in range(PANEL_VECTORS)]
            with loop(spec.units) as step:
                unit = held(span * spec.units + step)
                first = held((index * spec.units + step) * (spec.unit // 2))
                for j in range(PANEL_VECTORS):
                    high = weights.high(panel, unit, j)
                    for line, place in np.ndindex(spec.low_lines, spec.pairs):
                        low = weights.line(panel, unit, line, j)
                        pair = T.reinterpret(weights.pair(low, high, line, place), dtype=PAIRS)
                        here = (first + line * spec.pairs + place) * (2 * PANEL_ROWS) + j * LINE
                        unpacked = T.reinterpret(pair - zeros[j], dtype=WORDS)
                        weights.unpacked[part.worker, lanes(here, LINE)] = unpacked

    def multiply_expanded(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span from pairs that were unpacked."""
        self.clear(tile.rows * self.spec.terms * len(columns), sums)
        pairs = self.spec.span // 2
        with loop(pairs) as pair:
            places = [(index * pairs + pair) * (2 * PANEL_ROWS) + j * LINE for _, j in columns]
            words = {
                n: let(self.weights.unpacked[tile.part.worker, lanes(place, LINE)])
                for n, place in enumerate(places)
            }
            self._multiply(tile, index, pair, words, len(columns), sums)

    def multiply_stored(
        self, tile: DivisionTile, index: Expr, columns: list[Column], sums: Registers
    ) -> None:
        """Emit the sums of a span, unpacking the weight on the way."""
        spec = self.spec
        self.clear(tile.rows * spec.terms * len(columns), sums)
        group = self.weights.group(index)
        zeros = [self._zero(panel, group, j) for panel, j in columns]
        read = self.weights.pair
        for number, codes in self.unpacked(tile, index, columns, spec.pairs, read):
            pairs = {n: let(T.reinterpret(x, dtype=PAIRS) - zeros[n]) for n, x in codes.items()}
            self._multiply(tile, index, number, pairs, len(columns), sums)

    def _multiply(
        self,
        tile: DivisionTile,
        index: Expr,
        pair: Expr,
        words: dict[int, Expr],
        width: int,
        sums: Registers,
    ) -> None:
        """Emit the products of a pair of values of k of some of `width` columns."""
        spec = self.spec
        for i in range(tile.rows * spec.terms):
            row = tile.row * spec.terms + i
            place = (row * (tile.part.pitch * spec.spans) + index) * spec.span + pair * 2
            x = vector.spread_pair(self.tensors.x_values, tile.part.worker, place)
            for n, word in words.items():
                cell = i * width + n
                sums[cell] = vector.dot_i16(sums[cell], word, x)

    def _zero(self, panel: Expr, group: Expr, j: Expr) -> Expr:
        """The zeros of vector j of a panel, as pairs."""
        zeros = self.tensors.find("zeros")
        if zeros is None:
            middle = 0 if self.spec.has_minima else 1 << (self.spec.bits - 1)
            return T.broadcast(T.int16(middle), LINE)
        words = T.Cast(f"uint32x{LANES}", zeros[panel, group, lanes(j * LANES)])
        both = T.bitwise_or(words, T.shift_left(words, T.broadcast(T.uint32(16), LANES)))
        return let(T.reinterpret(both, dtype=PAIRS))
