"""Residual sums, gates, SwiGLU."""

import numpy as np

from sala_compile.codegen.onnx_export.step_graph import Lowerings, StepGraph, hint_of, refused
from sala_compile.sala_ir.dialect import (
    OutputGateOp,
    ResidualAddOp,
    SigmoidOp,
    SiluOp,
    SquaredReluOp,
    SwigluOp,
    columns_of,
)


def _residual_add(op: ResidualAddOp, step: StepGraph) -> None:
    branch = step.factor(step.rows(op.x), op.scale.value.data)
    total = step.writer.add("Add", step.rows(op.h), branch, hint=hint_of(op.result))
    step.define_rows(op.result, total)


def _output_gate(op: OutputGateOp, step: StepGraph) -> None:
    gate = step.writer.add("Sigmoid", step.rows(op.gate), hint="sigmoid")
    if columns_of(op.gate) not in (1, columns_of(op.x)):
        raise refused(op, "a gate for each head has no form in ONNX", "a gate for every column")
    gated = step.writer.add("Mul", step.rows(op.x), gate, hint=hint_of(op.result))
    step.define_rows(op.result, gated)


def _swiglu(op: SwigluOp, step: StepGraph) -> None:
    gate, up, limit = step.rows(op.gate), step.rows(op.up), op.limit.value.data
    if limit:
        most, least = (step.writer.constant(value, np.float32) for value in (limit, -limit))
        gate, up = (step.writer.add("Min", value, most, hint="limited") for value in (gate, up))
        up = step.writer.add("Max", up, least, hint="limited")
    silu = step.writer.add("Mul", gate, step.writer.add("Sigmoid", gate, hint="sigmoid"))
    inner = step.writer.add("Mul", silu, up, hint=hint_of(op.result))
    step.define_rows(op.result, inner)


def _silu(op: SiluOp, step: StepGraph) -> None:
    x = step.rows(op.x)
    sigmoid = step.writer.add("Sigmoid", x, hint="sigmoid")
    step.define_rows(op.result, step.writer.add("Mul", x, sigmoid, hint=hint_of(op.result)))


def _sigmoid(op: SigmoidOp, step: StepGraph) -> None:
    found = step.writer.add("Sigmoid", step.rows(op.x), hint=hint_of(op.result))
    step.define_rows(op.result, step.factor(found, op.scale.value.data))


def _squared_relu(op: SquaredReluOp, step: StepGraph) -> None:
    positive = step.writer.add("Relu", step.rows(op.x), hint="positive")
    step.define_rows(op.result, step.writer.add("Mul", positive, positive, hint=hint_of(op.result)))


LOWERINGS: Lowerings = {
    SquaredReluOp: _squared_relu,
    SigmoidOp: _sigmoid,
    SiluOp: _silu,
    ResidualAddOp: _residual_add,
    OutputGateOp: _output_gate,
    SwigluOp: _swiglu,
}
