"""Weight-side expressions, read a few rows at a time while the checkpoint streams by.

Rows keep the element type of the checkpoint until a cast changes it, so that a bfloat16 tensor
that stays bfloat16 is moved, not computed.
"""

from typing import Any, cast

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import BFloat16Type
from xdsl.ir import Attribute, Operation, SSAValue

from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.interpreter.weights import (
    RowSource,
    WeightValue,
    concatenated,
    interleaved,
    stored_weight,
)

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT32 = np.dtype(np.float32)


def numpy_element(element: Attribute) -> np.dtype:
    """The NumPy type of a weight's element type."""
    return BFLOAT16 if isinstance(element, BFloat16Type) else FLOAT32


def weight_type(value: SSAValue) -> WeightType:
    """The type of a weight value."""
    return cast(WeightType, value.type)


def readable(value: SSAValue, source: RowSource) -> WeightValue:
    """A weight expression as something whose rows can be read; row-major expressions only."""
    op = value.owner
    assert isinstance(op, Operation), "a weight is made by an operation"
    parts = tuple(readable(operand, source) for operand in op.operands)
    parameters: dict[str, Any] = cast(Any, op).parameters
    match op.name:
        case "sala.weight":
            shape = weight_type(value).get_shape()
            return stored_weight(source, parameters["tensor_name"], shape, lambda rows: rows)
        case "sala.concat_weights":
            return concatenated(parts, parameters["axis"])
        case "sala.interleave_weights":
            gate, up = parts
            return interleaved(gate, up, parameters["group"])
        case "sala.scale_weight":
            factor = np.float32(parameters["factor"])
            return parts[0].map(lambda rows: rows.astype(FLOAT32) * factor)
        case "sala.cast_weight":
            return parts[0].map(_caster(value))
    raise CompileError(f"{op.name} is not a weight expression that can be packed")


def rows_of(value: SSAValue, source: RowSource) -> WeightValue:
    """The rows of a weight expression in the element type that it declares."""
    return readable(value, source).map(_caster(value))


def _caster(value: SSAValue) -> Any:
    element = numpy_element(weight_type(value).element_type)
    return lambda rows: rows.astype(element, copy=False)
