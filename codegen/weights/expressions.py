"""Weight-side expressions as they are packed: a few rows at a time while the checkpoint streams by.

Rows keep the element type of the checkpoint until a cast changes it, so that a bfloat16 tensor
that stays bfloat16 is moved, not computed. Rows of integers stay integers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import BFloat16Type
from xdsl.ir import Attribute, SSAValue

from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    InterleaveWeightsOp,
    OffsetWeightOp,
    QuantizeWeightOp,
    ScaleWeightOp,
    WeightOp,
    WeightType,
    weight_type,
)
from sala_compile.sala_ir.interpreter.weight_rows import RowSource, Rowwise, WeightValue, evaluated
from sala_compile.sala_ir.reference import interleave_weights

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT32 = np.dtype(np.float32)

Measure = Callable[[str, np.ndarray, Integers], None]
"""Receives the tensor, some of its rows before rounding, and their integers."""


class IntegerSource(RowSource, Protocol):
    """Weights by name, some of them stored as integers."""

    def integers(self, name: str, start: int, stop: int) -> Integers:
        """Rows [start, stop) of a tensor that is stored as integers."""
        ...


def numpy_element(element: Attribute) -> np.dtype:
    """The NumPy type of a weight's element type."""
    return BFLOAT16 if isinstance(element, BFloat16Type) else FLOAT32


def packed_rows(value: SSAValue, source: RowSource, measure: Measure | None = None) -> WeightValue:
    """The rows of an expression in what it declares: its element type, or `Integers`.

    `measure` receives what is rounded to integers on the way. `CompileError` for an expression
    that cannot be packed.
    """
    kind = weight_type(value)
    rows = evaluated(value, _PackingArithmetic(source, measure))
    return rows.map(_caster(kind.element_type)) if kind.encoding.is_plain else rows


@dataclass(frozen=True, slots=True)
class _PackingArithmetic:
    """Blocks are NumPy arrays or `Integers`."""

    source: RowSource
    measure: Measure | None

    def stored(self, name: str, kind: WeightType) -> Callable[[int, int], Any]:
        """Rows as the source has them."""
        is_plain = kind.encoding.is_plain
        read = self.source.rows if is_plain else cast(IntegerSource, self.source).integers
        return lambda start, stop: read(name, start, stop)

    def compute(self, op: Rowwise, rows: Any) -> Any:
        """Scaled in float32, cast, or rounded to integers; integers can only be cast."""
        match op:
            case CastWeightOp():
                is_integers = isinstance(rows, Integers)
                return rows if is_integers else _caster(weight_type(op.result).element_type)(rows)
            case QuantizeWeightOp():
                return self._rounded(op, rows)
            case OffsetWeightOp():
                return rows.astype(FLOAT32) + np.float32(op.offset.value.data)
            case ScaleWeightOp() if isinstance(rows, np.ndarray):
                return rows.astype(FLOAT32) * np.float32(op.factor.value.data)
            case ScaleWeightOp():
                raise CompileError(f"{op.name} of integer weights cannot be packed")

    def padding(self, rows: int, kind: WeightType, like: Any) -> Any:
        """Rows of the value 0."""
        if isinstance(like, Integers):
            return Integers.empty(rows, kind.get_shape()[1], kind.encoding)
        return np.zeros((rows, *like.shape[1:]), like.dtype)

    def concat(self, blocks: Sequence[Any], axis: int) -> Any:
        """Arrays along the axis; integers by rows, as the operation is verified."""
        if isinstance(blocks[0], Integers):
            return Integers.joined(blocks)
        return np.concatenate(blocks, axis=axis)

    def interleave(self, op: InterleaveWeightsOp, gate: Any, up: Any, rows: slice) -> Any:
        """As the reference does; missing rows of the last group have the value 0."""
        group = op.group.value.data
        if not isinstance(gate, Integers):
            return interleave_weights(gate, up, group=group)[rows]
        kind = weight_type(op.result)
        missing = Integers.empty(-len(gate) % group, kind.get_shape()[1], kind.encoding)
        whole = [Integers.joined([part, missing]) for part in (gate, up)]
        pairs = zip(*(part.arrays for part in whole), strict=True)
        return Integers(*(interleave_weights(*pair, group=group)[rows] for pair in pairs))

    def _rounded(self, op: QuantizeWeightOp, rows: np.ndarray) -> Integers:
        integers = Integers.rounded(rows, weight_type(op.result).encoding)
        if self.measure is not None:
            tensor = op.weight.owner
            name = tensor.tensor_name.data if isinstance(tensor, WeightOp) else ""
            self.measure(name, rows, integers)
        return integers


def _caster(element: Attribute) -> Callable[[np.ndarray], np.ndarray]:
    kind = numpy_element(element)
    return lambda rows: rows.astype(kind, copy=False)
