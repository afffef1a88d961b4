"""Rows of x as 8-bit integers: every block of a row is q * scale, |q| <= 127.

The scale is the largest magnitude of the block divided by 127, and no value is off by more than
half of it. All steps are those of `sala_ir.reference.activations`, in float32, so that the
integers are the same on every machine and in the reference.
"""

from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import DepthPart
from sala_compile.codegen.kernels.linear_integers.cpu.integer_activations import (
    NOT_A_NUMBER,
    IntegerRows,
    largest_magnitude,
)
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import LINE
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
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.layouts.integer_panels import low_bits
from sala_compile.sala_ir.reference.activations import LEAST, LEVELS

LARGEST = 3.4028234663852886e38
"""The largest number of float32."""


@dataclass(frozen=True, slots=True)
class QuadActivations(IntegerRows):
    """Rows of x as int8, read four at a time in the order of the weight's bytes.

    The workspace `x_sums` has for each span the part of its products that the weight's zeros give:
    the sum of its integers, negated, times the zero if that is the middle of the range. For minima
    it has the sum.
    """

    def write(
        self, part: DepthPart, row: Expr, index: Expr, values: Registers, magnitudes: Expr
    ) -> None:
        """Emit the integers of a block, its scale and its sum."""
        spec = self.spec
        place, here = self.place(part, row, index), held(row * part.pitch + index)
        largest = held(largest_magnitude(magnitudes), "float32")
        bounded = held(T.max(largest, T.float32(LEAST)), "float32")
        scale = bounded * T.float32(1 / LEVELS)
        invalid = T.reinterpret(T.int32(NOT_A_NUMBER), dtype="float32")
        is_finite = largest <= T.float32(LARGEST)
        self.tensors.x_scales[part.worker, here] = T.Select(is_finite, scale, invalid)
        factor = let(splat(T.float32(LEVELS) / bounded))
        total, rounded = registers(1, "int32"), registers(1, "int32")
        # What minima are multiplied by is the sum; what zeros subtract is so many times it.
        zero = -1 if spec.has_minima else 1 if spec.stores_zeros else 1 << (spec.bits - 1)
        vectors = spec.span // LANES
        for span in range(spec.spans):
            total[0] = T.broadcast(T.int32(0), LANES)
            for i in range(span * vectors, (span + 1) * vectors):
                rounded[0] = vector.nearest_integers(values[i], factor)
                total[0] = total[0] + rounded[0]
                self.tensors.x_values[part.worker, lanes(held(place + i * LANES))] = (
                    vector.narrow_bytes(rounded[0], step=LINE // low_bits(spec.bits) // 2)
                )
            whole = T.Cast("int32", vector.total(T.Cast(vector.FLOATS, total[0])))
            self.tensors.x_sums[part.worker, here * spec.spans + span] = whole * -zero

    def clear(self, part: DepthPart, row: Expr, index: Expr) -> None:
        """Emit what belongs to the integers of a block that are all 0."""
        here = held(row * part.pitch + index)
        self.tensors.x_scales[part.worker, here] = T.float32(0)
        for span in range(self.spec.spans):
            self.tensors.x_sums[part.worker, here * self.spec.spans + span] = 0
