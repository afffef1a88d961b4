"""The function `@step` while it becomes a graph: which ONNX values its SSA values are."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto
from xdsl.ir import Attribute, Operation, SSAValue

from sala_compile.codegen.onnx_export.activation import Activation
from sala_compile.codegen.onnx_export.batch_values import BatchValues
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.exported_weights import ExportedWeights
from sala_compile.codegen.onnx_export.function_library import FunctionLibrary
from sala_compile.codegen.onnx_export.node_writer import NodeWriter
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    OffsetWeightOp,
    SalaOp,
    ScaleWeightOp,
    SliceWeightOp,
    TransposeWeightOp,
    columns_of,
    weight_shape,
)


class StepGraph:
    """What lowerings read and write.

    Activations are `Activation`s of `element`; a state is the names of its tensors, past or
    present; a rope table is its cosines and sines, float32 [batch, sequence, half].
    """

    def __init__(self, element: OnnxElement) -> None:
        self.element = element
        self.writer = NodeWriter()
        self.batch = BatchValues(self.writer)
        self.weights = ExportedWeights(element)
        self.functions = FunctionLibrary()
        self._values: dict[SSAValue, Any] = {}

    def value(self, of: SSAValue) -> Any:
        """What `define` was given for a value."""
        return self._values[of]

    def define(self, result: SSAValue, value: Any) -> None:
        """Say what the result of an operation is."""
        self._values[result] = value

    def rows(self, of: SSAValue) -> str:
        """An activation [batch * sequence, columns]."""
        return self._values[of].rows

    def spread(self, of: SSAValue) -> str:
        """An activation [batch, sequence, columns]."""
        return self._values[of].spread

    def define_rows(self, result: SSAValue, name: str) -> None:
        """Say that an activation is a value of rank 2."""
        self.define(result, Activation(columns_of(result), self._reshape, _rows=name))

    def define_spread(self, result: SSAValue, name: str) -> None:
        """Say that an activation is a value of rank 3."""
        self.define(result, Activation(columns_of(result), self._reshape, _spread=name))

    def weight(self, of: SSAValue) -> str:
        """A weight of the element type: an initializer, or what nodes make of some.

        Tensors are stored as the checkpoint has them, so that the file is one.
        """
        if of in self._values:
            return self._values[of]
        made = self._made_weight(of)
        if made is None:
            return self.weights.plain(of)
        self.define(of, made)
        return made

    def _made_weight(self, of: SSAValue) -> str | None:
        """What the nodes of a weight-side operation of the captured graph give."""
        op, add, constant = of.owner, self.writer.add, self.writer.constant
        match op:
            case SliceWeightOp():
                start, size = op.start.value.data, op.size.value.data
                whole, period = self.weight(op.weight), op.period.value.data
                rest = list(weight_shape(of)[1:])
                if period:
                    whole = add("Reshape", whole, constant([-1, period, *rest]), hint="periods")
                ends = (constant([at]) for at in (start, start + size, 1 if period else 0))
                part = add("Slice", whole, *ends, hint=hint_of(of))
                return add("Reshape", part, constant([-1, *rest])) if period else part
            case ScaleWeightOp():
                return self.factor(self.weight(op.weight), op.factor.value.data)
            case OffsetWeightOp():
                offset = constant([op.offset.value.data], np.float32)
                return add("Add", self.weight(op.weight), offset, hint=hint_of(of))
            case ConcatWeightsOp():
                parts = (self.weight(part) for part in op.parts)
                return add("Concat", *parts, axis=op.axis.value.data, hint=hint_of(of))
            case TransposeWeightOp():
                return add("Transpose", self.weight(op.weight), perm=[1, 0], hint=hint_of(of))
            case _:
                return None

    def widened(self, value: str) -> str:
        """The value in float32."""
        if not self.element.is_narrow:
            return value
        return self.writer.add("Cast", value, to=TensorProto.FLOAT, hint="wide")

    def narrowed(self, value: str) -> str:
        """A float32 value in the element type."""
        if not self.element.is_narrow:
            return value
        return self.writer.add("Cast", value, to=self.element.tensor_type, hint="narrow")

    def factor(self, value: str, scale: float) -> str:
        """The value times a constant."""
        if scale == 1.0:
            return value
        constant = self.writer.constant(np.float32(scale), self.element.dtype)
        return self.writer.add("Mul", value, constant, hint="scaled")

    def _reshape(self, value: str, columns: int, spread: bool) -> str:
        shape = self.batch.shape_of(columns) if spread else self.writer.constant([-1, columns])
        return self.writer.add("Reshape", value, shape, hint="spread" if spread else "rows")


Lowering = Callable[[Any, StepGraph], None]
"""Appends the nodes of an operation, and defines its results."""

Lowerings = Mapping[type[SalaOp], Lowering]
"""The lowering of each class of operations."""


def hint_of(value: SSAValue) -> str:
    """The name of a value in the captured graph."""
    return value.name_hint or "value"


def refused(op: Operation, found: str, expected: str) -> CompileError:
    """An operation that the exporter does not write, and why."""
    layer = op.layer if isinstance(op, SalaOp) else None
    place = op.name if layer is None else f"layer {layer}: {op.name}"
    return CompileError(
        found,
        where=f"--emit onnx, {place}",
        expected=expected,
        fix="export the graph as it is captured from a checkpoint",
    )


def require_absent(op: Operation, **operands: SSAValue | Attribute | None) -> None:
    """Refuse an operation with operands that only passes after the capture give it."""
    for name, operand in operands.items():
        if operand is not None:
            raise refused(op, f"the operation has the operand {name}", "one that is not fused")
