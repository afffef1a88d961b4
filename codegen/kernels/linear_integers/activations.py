"""Rows of x as 16-bit integers: every block of a row is q * 2^e, |q| < 2^15.

The largest value of a block fills 15 bits, so that a bf16 value down to 2^-7 of it is exact, and
no value is off by more than 2^-16 of the largest. float32 takes two integers, q + q' * 2^-15.
A block with an infinity or NaN gets the scale NaN, and all outputs of its row become NaN.
"""

from dataclasses import dataclass

from codegen.kernels.linear.blocks import Part
from codegen.kernels.linear_integers.spec import Spec
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    Tensor,
    held,
    lanes,
    let,
    loop,
    prefetch,
    registers,
    splat,
    when,
)
from codegen.kernels.tir.element import Element
from codegen.kernels.tir.ir import T

MAGNITUDE = 0x7FFFFFFF
INFINITY = 0x7F800000
NOT_A_NUMBER = 0x7FC00000
FIRST_EXPONENT = 14
"""Biased exponent of the least maximum that fills 15 bits; smaller blocks use fewer."""
LAST_EXPONENT = 268
"""Biased exponents of a maximum and of the factor that brings it below 2^15 have this sum."""
LARGEST = 32767.0
TERM_BITS = 15
"""Bits of a value that one integer holds, beside its sign."""
ROUNDER = 1.5 * 2.0**23
"""Added to a float below 2^22, leaves its nearest integer in the low bits."""
BITS = f"int32x{LANES}"


@dataclass(frozen=True, slots=True)
class Activations:
    """Rows of x, and where a worker keeps them as integers with scales."""

    spec: Spec
    x: Tensor
    values: Tensor
    scales: Tensor

    def prepare(self, part: Part) -> None:
        """Emit the integers of the rows of a part."""
        spec = self.spec
        whole = spec.depth // spec.block
        with loop(part.count) as row:
            with loop(T.max(T.min(part.blocks, whole - part.first), 0)) as index:
                self._block(part, row, index, spec.block)
            if spec.depth % spec.block:
                with when(T.And(part.first <= whole, part.first + part.blocks > whole)):
                    self._block(part, row, held(whole - part.first), spec.depth % spec.block)
                self._clear(part, row, whole + 1)
            else:
                self._clear(part, row, whole)

    def _clear(self, part: Part, row: Expr, first: int) -> None:
        """Emit zeros for the blocks that pad the depth to a whole group."""
        spec = self.spec
        for block in range(first, spec.padded_depth // spec.block):
            index = held(block - part.first)
            with when(T.And(index >= 0, index < part.blocks)):
                self.scales[part.worker, held(row * part.pitch + index)] = T.float32(0)
                for term in range(spec.terms):
                    place = self.place(part, row * spec.terms + term, index)
                    for column in range(0, spec.block, LANES):
                        here = lanes(place + column)
                        self.values[part.worker, here] = T.broadcast(T.uint16(0), LANES)

    def place(self, part: Part, row: Expr, block: Expr) -> Expr:
        """Where the integers of a block begin: row counts terms, block from the part's first."""
        return held((row * part.pitch + block) * self.spec.block)

    def _block(self, part: Part, row: Expr, index: Expr, count: int) -> None:
        """Emit a block, of which `count` values are there and the rest 0."""
        spec = self.spec
        vectors = spec.block // LANES
        column = held((part.first + index) * spec.block + spec.x_start)
        values, largest = registers(vectors), registers(1, "int32")
        largest[0] = _integers(0)
        for i in range(vectors):
            live = max(0, min(LANES, count - i * LANES))
            if live:
                place = (part.row + row, column + i * LANES)
                values[i] = spec.weight.load(self.x, *place, count=live)
                if i * spec.weight.bytes % 4 == 0:
                    prefetch(self.x, part.row + row, column + part.pitch * spec.block + i * LANES)
                magnitude = T.reinterpret(values[i], dtype=BITS) & _integers(MAGNITUDE)
                largest[0] = T.max(largest[0], magnitude)
            else:
                values[i] = splat(0.0)
        exponent = held(_exponent(largest[0]))
        shift = held(T.max(exponent, FIRST_EXPONENT))
        scale = T.Select(exponent < 255, (shift - FIRST_EXPONENT) << 23, NOT_A_NUMBER)
        self.scales[part.worker, row * part.pitch + index] = T.reinterpret(scale, dtype="float32")
        factor = let(splat(T.reinterpret((LAST_EXPONENT - shift) << 23, dtype="float32")))
        for i in range(vectors):
            values[i] = values[i] * factor
        for term in range(spec.terms):
            place = self.place(part, row * spec.terms + term, index)
            for i in range(vectors):
                self._round(values, i, held(place + i * LANES), part.worker)

    def _round(self, values: Registers, index: int, place: Expr, worker: Expr) -> None:
        """Emit a vector of integers, and leave 2^15 times what they miss of the values."""
        if self.spec.weight is Element.F32:
            values[index] = T.min(T.max(values[index], splat(-LARGEST)), splat(LARGEST))
        rounded = registers(1)
        rounded[0] = values[index] + splat(ROUNDER)
        bits = T.reinterpret(rounded[0], dtype=f"uint32x{LANES}")
        self.values[worker, lanes(place)] = T.Cast(vector.HALVES, bits)
        if self.spec.weight is Element.F32:
            missed = values[index] - (rounded[0] - splat(ROUNDER))
            values[index] = missed * splat(2.0**TERM_BITS)


def _exponent(magnitudes: Expr) -> Expr:
    """The biased exponent of the largest of 16 magnitudes; 255 where one is infinite or NaN."""
    bounded = T.min(magnitudes, _integers(INFINITY))
    largest = vector.largest(T.reinterpret(bounded, dtype=vector.FLOATS))
    return T.reinterpret(largest, dtype="int32") >> 23


def _integers(value: int) -> Expr:
    return T.broadcast(T.int32(value), LANES)
