"""Weight-side operations as the reference computes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    InterleaveWeightsOp,
    OffsetWeightOp,
    QuantizeWeightOp,
    ScaleWeightOp,
    WeightType,
    weight_type,
)
from sala_compile.sala_ir.interpreter.numerics import Numerics
from sala_compile.sala_ir.interpreter.weight_rows import RowSource, Rowwise
from sala_compile.sala_ir.reference.arrays import Array


@dataclass(frozen=True, slots=True)
class ReferenceArithmetic:
    """Blocks are arrays: as they are stored, until an operation computes with them."""

    source: RowSource
    numerics: Numerics

    def stored(self, name: str, kind: WeightType) -> Callable[[int, int], Array]:
        """Rows rounded to the element type that the weight declares."""
        rounding = self.numerics.rounder(kind.element_type)

        def read(start: int, stop: int) -> Array:
            return rounding(self.numerics.stored(self.source.rows(name, start, stop)))

        return read

    def compute(self, op: Rowwise, rows: Array) -> Array:
        """Scaled, cast, or rounded to the values that integers represent."""
        rounding = self._rounder(op.result)
        match op:
            case ScaleWeightOp():
                rows = self.numerics.array(rows)
                return rounding(reference.scale_weight(rows, factor=op.factor.value.data))
            case OffsetWeightOp():
                rows = self.numerics.array(rows)
                return rounding(reference.offset_weight(rows, offset=op.offset.value.data))
            case CastWeightOp():
                return reference.cast_weight(rows, rounding=rounding)
            case QuantizeWeightOp():
                encoding = weight_type(op.result).encoding
                return reference.quantize_weight(
                    self.numerics.array(rows),
                    bits=encoding.bits,
                    group=encoding.group.data,
                    stores_zeros=encoding.stores_zeros,
                    rounding=rounding,
                )

    def padding(self, rows: int, kind: WeightType, like: Array) -> Array:
        """Zeros."""
        return reference.zero_rows(like, rows)

    def concat(self, blocks: Sequence[Array], axis: int) -> Array:
        """The same as the reference."""
        return reference.concat_weights(tuple(blocks), axis=axis)

    def interleave(self, op: InterleaveWeightsOp, gate: Array, up: Array, rows: slice) -> Array:
        """The same as the reference."""
        return reference.interleave_weights(gate, up, group=op.group.value.data)[rows, ...]

    def _rounder(self, weight: SSAValue) -> reference.Round:
        """The function that rounds the values of a weight; those of integers are not rounded."""
        kind = weight_type(weight)
        is_plain = kind.encoding.is_plain
        return self.numerics.rounder(kind.element_type) if is_plain else reference.exact
