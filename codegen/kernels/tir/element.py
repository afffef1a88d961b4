"""The element type of weights, caches and activations, so that a kernel is written once.

A dot product takes `Element.pack` consecutive values of the reduced dimension at a time: two bf16
values in 32 bits, or one float. Layouts in memory follow: `[..., K / pack, N, pack]`.
"""

from enum import StrEnum

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, Tensor, lanes, let
from sala_compile.codegen.kernels.tir.ir import T, tirx


class Element(StrEnum):
    """A floating-point type in memory; arithmetic is always float32. A spec holds its value."""

    BF16 = "bf16"
    F32 = "f32"

    @property
    def pack(self) -> int:
        """Values that one step of a dot product takes."""
        return 2 if self is Element.BF16 else 1

    @property
    def dtype(self) -> str:
        """Type in TIR and in the calling convention (bf16 travels as its bits)."""
        return "uint16" if self is Element.BF16 else "float32"

    @property
    def bytes(self) -> int:
        """Size of one value."""
        return 2 if self is Element.BF16 else 4

    def load(self, tensor: Tensor, *indices: Expr, count: int = LANES) -> Expr:
        """Read `count` <= 16 values from an element on, as floats; the other lanes are 0."""
        *rows, column = indices
        if self is Element.BF16:
            if count < LANES:
                return vector.from_bf16(vector.load_u16(tensor, *indices, count=count))
            return vector.from_bf16(tensor[(*rows, lanes(column))])
        if count < LANES:
            return vector.load(tensor, *indices, count=count)
        return tensor[(*rows, lanes(column))]

    def store(self, tensor: Tensor, *indices: Expr, value: Expr, count: int = LANES) -> None:
        """Round 16 floats to this type and write the first `count` of them."""
        *rows, column = indices
        if self is Element.BF16:
            value = vector.to_bf16(value)
            if count < LANES:
                vector.store_u16(tensor, *indices, value=value, count=count)
                return
        elif count < LANES:
            vector.store(tensor, *indices, value=value, count=count)
            return
        tensor[(*rows, lanes(column))] = value

    def gather(self, values: list[Expr]) -> Expr:
        """Return up to 16 single values of this type as floats; the other lanes are 0."""
        zero = tirx.const(0, self.dtype)
        lanes_of = values + [zero] * (LANES - len(values))
        together = tirx.Shuffle(lanes_of, [tirx.const(i, "int32") for i in range(LANES)])
        return vector.from_bf16(together) if self is Element.BF16 else together

    def operand(self, tensor: Tensor, *indices: Expr) -> Expr:
        """Read the 16 packs that start at an element: the vector side of `dot`."""
        *rows, column = indices
        return let(tensor[(*rows, lanes(column, LANES * self.pack))])

    def spread(self, tensor: Tensor, *indices: Expr) -> Expr:
        """Read one pack and repeat it 16 times: the other side of `dot`."""
        if self is Element.F32:
            return let(T.broadcast(tensor[indices], LANES))
        return vector.spread_pair(tensor, *indices)

    def spread_value(self, tensor: Tensor, *indices: Expr) -> Expr:
        """Read one value and repeat it 16 times, as floats."""
        value = T.broadcast(tensor[indices], LANES)
        return let(vector.from_bf16(value) if self is Element.BF16 else value)

    def dot(self, accumulator: Expr, operand: Expr, spread: Expr) -> Expr:
        """Return accumulator + the product of two packs, lane by lane."""
        if self is Element.F32:
            return vector.fma(spread, operand, accumulator)
        return T.call_pure_extern(vector.FLOATS, "sala_dot_bf16", accumulator, operand, spread)
