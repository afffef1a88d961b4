"""Embedding, linears, logits: what reads the large weights."""

from xdsl.ir import SSAValue

from sala_compile.codegen.onnx_export.lowerings.integer_products import (
    integer_product,
    integer_rows,
)
from sala_compile.codegen.onnx_export.step_graph import Lowerings, StepGraph, hint_of, refused
from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    LinearOp,
    LogitsOp,
    SliceOp,
    weight_type,
)


def _embedding(op: EmbeddingOp, step: StepGraph) -> None:
    ids, hint = step.value(op.tokens), hint_of(op.result)
    if weight_type(op.weight).encoding.is_plain:
        rows = step.writer.add("Gather", step.weight(op.weight), ids, axis=0, hint=hint)
    else:
        rows = integer_rows(ids, step.weights.integers(op.weight), step, hint)
    hidden = step.factor(rows, op.scale.value.data)
    step.define_spread(op.result, hidden)


def _linear(op: LinearOp, step: StepGraph) -> None:
    if op.is_swiglu or op.activation_group.value.data:
        raise refused(op, "the linear has a fused epilogue, or integers as its input", "neither")
    bias = "" if op.bias is None else step.weight(op.bias)
    y = product(step.rows(op.x), op.weight, step, bias=bias, hint=hint_of(op.result))
    y = step.factor(y, op.scale.value.data)
    if op.residual is not None:
        y = step.writer.add("Add", y, step.rows(op.residual), hint=hint_of(op.result))
    step.define_rows(op.result, y)


def _logits(op: LogitsOp, step: StepGraph) -> None:
    """Of every new token, in float32, whatever rows the step asks for."""
    y = product(step.rows(op.h), op.weight, step, hint="head")
    step.define_rows(op.result, step.widened(step.factor(y, op.scale.value.data)))


def _slice(op: SliceOp, step: StepGraph) -> None:
    start, size = op.start.value.data, op.size.value.data
    ends = (step.writer.constant([at]) for at in (start, start + size, 1))
    part = step.writer.add("Slice", step.rows(op.x), *ends, hint=hint_of(op.result))
    step.define_rows(op.result, part)


def product(x: str, weight: SSAValue, step: StepGraph, *, hint: str, bias: str = "") -> str:
    """x [rows, K] times the transpose of a weight [N, K], and a bias [N]."""
    if weight_type(weight).encoding.is_plain:
        operands = [x, step.weight(weight), *([bias] if bias else [])]
        return step.writer.add("Gemm", *operands, transB=1, hint=hint)
    y = integer_product(x, step.weights.integers(weight), step, hint)
    return step.writer.add("Add", y, bias, hint=hint) if bias else y


LOWERINGS: Lowerings = {
    EmbeddingOp: _embedding,
    LinearOp: _linear,
    LogitsOp: _logits,
    SliceOp: _slice,
}
