"""Residual sums, gates, SwiGLU."""

from sala_compile.codegen.onnx_export.step_graph import Lowerings, StepGraph, hint_of, refused
from sala_compile.sala_ir.dialect import OutputGateOp, ResidualAddOp, SwigluOp, columns_of


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
    gate = step.rows(op.gate)
    silu = step.writer.add("Mul", gate, step.writer.add("Sigmoid", gate, hint="sigmoid"))
    inner = step.writer.add("Mul", silu, step.rows(op.up), hint=hint_of(op.result))
    step.define_rows(op.result, inner)


LOWERINGS: Lowerings = {
    ResidualAddOp: _residual_add,
    OutputGateOp: _output_gate,
    SwigluOp: _swiglu,
}
