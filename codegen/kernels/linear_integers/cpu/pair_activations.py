"""Rows of x as 16-bit integers: every block of a row is q * 2^e, |q| < 2^15.

The largest value of a block fills 15 bits, so that a bf16 value down to 2^-7 of it is exact, and
no value is off by more than 2^-16 of the largest. float32 takes two integers, q + q' * 2^-15.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import DepthPart
from sala_compile.codegen.kernels.linear_integers.cpu.integer_activations import (
    NOT_A_NUMBER,
    ROUNDER,
    IntegerRows,
    largest_magnitude,
)
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    held,
    lanes,
    let,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T

FIRST_EXPONENT = 14
"""Biased exponent of the least maximum that fills 15 bits; smaller blocks use fewer."""
LAST_EXPONENT = 268
"""Biased exponents of a maximum and of the factor that brings it below 2^15 have this sum."""
LARGEST = 32767.0
TERM_BITS = 15
"""Bits of a value that one integer holds, without its sign."""


@dataclass(frozen=True, slots=True)
class PairActivations(IntegerRows):
    """Rows of x as uint16, read in pairs."""

    def write(
        self, part: DepthPart, row: Expr, index: Expr, values: Registers, magnitudes: Expr
    ) -> None:
        """Emit the integers of a block and its scale."""
        spec = self.spec
        vectors = spec.block // LANES
        largest = T.reinterpret(largest_magnitude(magnitudes), dtype="int32")
        exponent = held(largest >> 23)
        # The scale is a power of two, made of exponent bits: 2^(e - 14), which no product rounds.
        shift = held(T.max(exponent, FIRST_EXPONENT))
        scale = T.Select(exponent < 255, (shift - FIRST_EXPONENT) << 23, NOT_A_NUMBER)
        self.tensors.x_scales[part.worker, row * part.pitch + index] = T.reinterpret(
            scale, dtype="float32"
        )
        factor = let(splat(T.reinterpret((LAST_EXPONENT - shift) << 23, dtype="float32")))
        for i in range(vectors):
            values[i] = values[i] * factor
        for term in range(spec.terms):
            place = self.place(part, row * spec.terms + term, index)
            for i in range(vectors):
                self._round(values, i, held(place + i * LANES), part.worker)

    def _round(self, values: Registers, index: int, place: Expr, worker: Expr) -> None:
        """Emit a vector of integers, and leave 2^15 times their difference from the values."""
        if self.spec.weight is Element.F32:
            values[index] = T.min(T.max(values[index], splat(-LARGEST)), splat(LARGEST))
        rounded = registers(1)
        # 1.5 * 2^23 + v has the nearest integer of v, ties to even, in its last 16 bits.
        rounded[0] = values[index] + splat(ROUNDER)
        bits = T.reinterpret(rounded[0], dtype=f"uint32x{LANES}")
        self.tensors.x_values[worker, lanes(place)] = T.Cast(vector.HALVES, bits)
        if self.spec.weight is Element.F32:
            missed = values[index] - (rounded[0] - splat(ROUNDER))
            values[index] = missed * splat(2.0**TERM_BITS)
