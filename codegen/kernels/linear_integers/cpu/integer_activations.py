"""Rows of x as integers: the common part for integers of 16 and of 8 bits.

A block of a row, at most 128 values, gets a scale of its own. A block with an infinity or NaN
gets the scale NaN, and all outputs of its row become NaN.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sala_compile.codegen.kernels.linear.cpu.block_division import DepthPart
from sala_compile.codegen.kernels.linear_integers.cpu.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    Tensors,
    held,
    lanes,
    loop,
    prefetch,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T, tirx

MAGNITUDE = 0x7FFFFFFF
INFINITY = 0x7F800000
NOT_A_NUMBER = 0x7FC00000
ROUNDER = 1.5 * 2.0**23
"""Added to a float below 2^22, leaves its nearest integer in the low bits."""
BITS = f"int32x{LANES}"


@dataclass(frozen=True, slots=True)
class IntegerRows(ABC):
    """Rows of x, and where a worker keeps them as integers with scales."""

    spec: Spec
    tensors: Tensors

    @abstractmethod
    def write(
        self, part: DepthPart, row: Expr, index: Expr, values: Registers, magnitudes: Expr
    ) -> None:
        """Emit the integers of a block and what belongs to them.

        `magnitudes` are the bits of the largest values without their signs, lane by lane.
        """

    def prepare(self, part: DepthPart) -> None:
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

    def _clear(self, part: DepthPart, row: Expr, first: int) -> None:
        """Emit zeros for the blocks that pad the depth to a whole group."""
        spec = self.spec
        for block in range(first, spec.padded_depth // spec.block):
            index = held(block - part.first)
            with when(T.And(index >= 0, index < part.blocks)):
                self.clear(part, row, index)
                for term in range(spec.terms):
                    place = self.place(part, row * spec.terms + term, index)
                    for column in range(0, spec.block, LANES):
                        here = lanes(place + column)
                        zero = tirx.const(0, self.tensors.x_values.buffer.dtype)
                        self.tensors.x_values[part.worker, here] = T.broadcast(zero, LANES)

    def clear(self, part: DepthPart, row: Expr, index: Expr) -> None:
        """Emit what belongs to the integers of a block that are all 0."""
        self.tensors.x_scales[part.worker, held(row * part.pitch + index)] = T.float32(0)

    def place(self, part: DepthPart, row: Expr, block: Expr) -> Expr:
        """Where the integers of a block begin: row counts terms, block from the part's first."""
        return held((row * part.pitch + block) * self.spec.block)

    def _block(self, part: DepthPart, row: Expr, index: Expr, count: int) -> None:
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
                values[i] = spec.weight.load(self.tensors.x, *place, count=live)
                if i * spec.weight.bytes % 4 == 0:
                    prefetch(
                        self.tensors.x, part.row + row, column + part.pitch * spec.block + i * LANES
                    )
                # Without their signs floats order as their bits do, NaN above infinity.
                magnitude = T.reinterpret(values[i], dtype=BITS) & _integers(MAGNITUDE)
                largest[0] = T.max(largest[0], magnitude)
            else:
                values[i] = splat(0.0)
        self.write(part, row, index, values, largest[0])


def largest_magnitude(magnitudes: Expr) -> Expr:
    """The largest of 16 magnitudes as a float; infinite if one is infinite or NaN."""
    bounded = T.min(magnitudes, _integers(INFINITY))
    return vector.largest(T.reinterpret(bounded, dtype=vector.FLOATS))


def _integers(value: int) -> Expr:
    return T.broadcast(T.int32(value), LANES)
