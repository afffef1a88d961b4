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
    """Rows of x as uint16, read in pairs.

    For minima the workspace `x_sums` has what each span adds up to.
    """

    @property
    def sums_terms_apart(self) -> bool:
        """Whether each integer of a value has sums of its own, instead of the value one."""
        return False

    @property
    def sums(self) -> int:
        """Sums of a block that are kept."""
        return self.spec.spans if self.spec.has_minima else 0

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
        sums = registers(self.sums).fill(self.sums) if self.sums else None
        for term in range(spec.terms):
            place = self.place(part, row * spec.terms + term, index)
            for i in range(vectors):
                whole = self._round(values, i, place, part.worker)
                if sums is not None:
                    apart = self.sums_terms_apart
                    cell = i * LANES // spec.span + (term * spec.spans if apart else 0)
                    step = 1.0 if apart else 2.0 ** (-TERM_BITS * term)
                    sums[cell] = vector.fma(whole, splat(step), sums[cell])
        if sums is not None:
            for cell in range(self.sums):
                self.keep_sum(part, row, index, cell, vector.total(sums[cell]))

    def clear(self, part: DepthPart, row: Expr, index: Expr) -> None:
        """Emit what belongs to the integers of a block that are all 0."""
        self.tensors.x_scales[part.worker, row * part.pitch + index] = T.float32(0)
        for cell in range(self.sums):
            self.keep_sum(part, row, index, cell, T.float32(0))

    def keep(self, worker: Expr, place: Expr, column: int, bits: Expr) -> None:
        """Emit the write of 16 integers from a column of a block on; `bits` are their 32 bits."""
        here = lanes(held(place + column))
        self.tensors.x_values[worker, here] = T.Cast(vector.HALVES, bits)

    def keep_sum(self, part: DepthPart, row: Expr, index: Expr, cell: int, value: Expr) -> None:
        """Emit the write of one of the sums of a block, a float that is scaled as its integers."""
        here = held((row * part.pitch + index) * self.spec.spans + cell)
        self.tensors.x_sums[part.worker, here] = value

    def _round(self, values: Registers, index: int, place: Expr, worker: Expr) -> Expr:
        """Emit a vector of integers, and leave 2^15 times their difference from the values.

        Returns the integers as floats.
        """
        if self.spec.weight is Element.F32:
            values[index] = T.min(T.max(values[index], splat(-LARGEST)), splat(LARGEST))
        rounded = registers(1)
        # 1.5 * 2^23 + v has the nearest integer of v, ties to even, in its last 16 bits.
        rounded[0] = values[index] + splat(ROUNDER)
        bits = T.reinterpret(rounded[0], dtype=f"uint32x{LANES}")
        self.keep(worker, place, index * LANES, bits)
        whole = let(rounded[0] - splat(ROUNDER))
        if self.spec.weight is Element.F32:
            missed = values[index] - whole
            values[index] = missed * splat(2.0**TERM_BITS)
        return whole
