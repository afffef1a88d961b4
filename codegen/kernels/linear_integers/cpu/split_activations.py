"""Rows of x as 16-bit integers, each as two bytes: q = 256 high + low, high signed, low not.

A span of a row has its low bytes, then its high ones, both in the order of the weight's bytes.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import DepthPart
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import LINE
from sala_compile.codegen.kernels.linear_integers.cpu.pair_activations import PairActivations
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, held, lanes, splat
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.layouts.integer_panels import low_bits

STEP = LINE // low_bits(4) // 2
"""Half the columns of a line of codes: the step of the order of its bytes."""


@dataclass(frozen=True, slots=True)
class SplitActivations(PairActivations):
    """Rows of x as bytes of the integers of `PairActivations`, read four at a time.

    Without minima the workspace `x_sums` has for each integer of a value and each span what the
    weight's zeros take from its products, as that of `QuadActivations` has.
    """

    @property
    def sums_terms_apart(self) -> bool:
        """Zeros are taken from the products of each integer."""
        return not self.spec.has_minima

    @property
    def sums(self) -> int:
        """Sums of a block that are kept."""
        return self.spec.spans * (1 if self.spec.has_minima else self.spec.terms)

    def keep(self, worker: Expr, place: Expr, column: int, bits: Expr) -> None:
        """Emit the write of the bytes of 16 integers."""
        span, first = divmod(column, self.spec.span)
        start = held(place + (span * self.spec.span + first // 2))
        high = T.shift_right(bits, splat(T.uint32(8)))
        for half, part in enumerate((bits, high)):
            quads = vector.narrow_bytes(T.reinterpret(part, dtype=f"int32x{LANES}"), step=STEP)
            here = lanes(start + half * (self.spec.span // 2), LANES // 2)
            self.tensors.x_values[worker, here] = T.reinterpret(quads, dtype=f"uint16x{LANES // 2}")

    def keep_sum(self, part: DepthPart, row: Expr, index: Expr, cell: int, value: Expr) -> None:
        """Emit the write of a sum of the integers of a span: exact, below 2^22."""
        spec = self.spec
        if spec.has_minima:
            return PairActivations.keep_sum(self, part, row, index, cell, value)
        term, span = divmod(cell, spec.spans)
        here = held(((row * spec.terms + term) * part.pitch + index) * spec.spans + span)
        zero = 1 if spec.stores_zeros else 1 << (spec.bits - 1)
        self.tensors.x_sums[part.worker, here] = T.Cast("int32", value) * -zero
