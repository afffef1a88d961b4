"""Panels of integer weights: pairs of neighbours as 16-bit integers, in registers or in scratch."""

from dataclasses import dataclass

from codegen.kernels.linear.blocks import PANEL_VECTORS, Part
from codegen.kernels.linear.layout import PANEL_ROWS
from codegen.kernels.linear_integers.spec import Spec
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Tensor,
    held,
    lanes,
    let,
    loop,
)
from codegen.kernels.tir.ir import T

PAIRS = f"int16x{2 * LANES}"
"""The type of a pair of neighbours of each of 16 rows of the weight."""
WORDS = f"uint16x{2 * LANES}"
LINE = 2 * LANES
"""16-bit values in a vector."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The stored parts of a weight, and where a worker keeps a part of a panel as pairs."""

    spec: Spec
    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    pairs: Tensor

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec) -> tuple[Tensor, Tensor, Tensor | None]:
        """Declare (codes, scales, zeros?)."""
        panels = -(-spec.rows // PANEL_ROWS)
        lines = spec.padded_depth // spec.line
        groups = (panels, spec.padded_depth // spec.group, PANEL_ROWS)
        codes = builder.tensor("codes", (panels, lines, PANEL_ROWS, 2), "uint16")
        scales = builder.tensor("scales", groups, "uint16")
        zeros = builder.tensor("zeros", groups, "uint8") if spec.stores_zeros else None
        return codes, scales, zeros

    def group(self, block: Expr) -> Expr:
        """The group that a block of the depth belongs to."""
        blocks = self.spec.group // self.spec.block
        return block if blocks == 1 else held(block // blocks)

    def scale(self, panel: Expr, group: Expr, j: Expr) -> Expr:
        """The scales of vector j of a panel, as floats."""
        return let(vector.from_f16(self.scales[panel, group, lanes(j * LANES)]))

    def zero(self, panel: Expr, group: Expr, j: Expr) -> Expr:
        """The zeros of vector j of a panel, as pairs."""
        if self.zeros is None:
            return T.broadcast(T.int16(1 << (self.spec.bits - 1)), LINE)
        words = T.Cast(f"uint32x{LANES}", self.zeros[panel, group, lanes(j * LANES)])
        both = T.bitwise_or(words, T.shift_left(words, T.broadcast(T.uint32(16), LANES)))
        return let(T.reinterpret(both, dtype=PAIRS))

    def line(self, panel: Expr, line: Expr, j: Expr) -> Expr:
        """A line of codes of vector j of a panel."""
        return let(self.codes[panel, line, j * LANES, lanes(0, LINE)])

    def unpack(self, line: Expr, index: int, zero: Expr) -> Expr:
        """Pair `index` of a line, less the zeros."""
        bits = self.spec.bits
        if index:
            line = T.shift_right(line, T.broadcast(T.uint16(bits * index), LINE))
        if index + 1 < self.spec.lane:
            line = line & T.broadcast(T.uint16((1 << bits) - 1), LINE)
        return let(T.reinterpret(line, dtype=PAIRS) - zero)

    def expand(self, part: Part, panel: Expr) -> None:
        """Emit the pairs of a part of a panel."""
        spec = self.spec
        lines = spec.block // spec.line
        with loop(part.blocks) as index:
            block = held(part.first + index)
            group = self.group(block)
            zeros = [self.zero(panel, group, j) for j in range(PANEL_VECTORS)]
            with loop(lines) as step:
                line = held(block * lines + step)
                pair = held((index * lines + step) * spec.lane)
                for j in range(PANEL_VECTORS):
                    word = self.line(panel, line, j)
                    for q in range(spec.lane):
                        place = (pair + q) * (2 * PANEL_ROWS) + j * LINE
                        pairs = T.reinterpret(self.unpack(word, q, zeros[j]), dtype=WORDS)
                        self.pairs[part.worker, lanes(place, LINE)] = pairs

    def pair(self, worker: Expr, pair: Expr, j: Expr) -> Expr:
        """A prepared pair of vector j."""
        return let(self.pairs[worker, lanes(pair * (2 * PANEL_ROWS) + j * LINE, LINE)])
