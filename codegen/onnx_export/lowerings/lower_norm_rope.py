"""RMS norms and rotary position embedding."""

import numpy as np
from onnx import TensorProto

from sala_compile.codegen.onnx_export.step_graph import (
    Lowerings,
    StepGraph,
    hint_of,
    refused,
    require_absent,
)
from sala_compile.sala_ir.dialect import RmsNormOp, RopeOp, RopeTableOp, columns_of, plain


def _rms_norm(op: RmsNormOp, step: StepGraph) -> None:
    """The statistic in float32, as the operator's default is; heads as an axis of their own."""
    require_absent(op, rows=op.rows, gate=op.gate)
    columns, group = columns_of(op.x), op.group
    x, weight, epsilon = step.rows(op.x), step.weight(op.weight), op.eps.value.data
    add, hint = step.writer.add, hint_of(op.result)
    if group == columns:
        normal = add("RMSNormalization", x, weight, epsilon=epsilon, axis=-1, hint=hint)
        step.define_rows(op.result, normal)
        return
    groups = op.groups.value.data
    shape = step.writer.constant([-1, columns // group, group])
    heads = add("Reshape", x, shape, hint="heads")
    if groups == 1:
        normal = add("RMSNormalization", heads, weight, epsilon=epsilon, axis=-1, hint="normal")
    else:  # a weight of its own for each group
        ones = step.writer.constant(np.ones(group), step.element.dtype)
        normal = add("RMSNormalization", heads, ones, epsilon=epsilon, axis=-1, hint="normal")
        periods = step.writer.constant([-1, columns // (group * groups), groups, group])
        normal = add("Reshape", normal, periods, hint="groups")
        own = add("Reshape", weight, step.writer.constant([groups, group]), hint="weights")
        normal = add("Mul", normal, own, hint="normal")
    spread = add("Reshape", normal, step.batch.shape_of(columns), hint=hint)
    step.define_spread(op.result, spread)


def _rope_table(op: RopeTableOp, step: StepGraph) -> None:
    """Cosines and sines in float32, [batch, sequence, half] each."""
    add, constant = step.writer.add, step.writer.constant
    if op.position_offset.value.data:
        found = "a table is of other positions than the tokens' own"
        raise refused(op, found, "a table of the tokens' positions")
    positions = add("Cast", step.batch.positions, to=TensorProto.FLOAT, hint="position")
    positions = add("Unsqueeze", positions, constant([2]), hint="position")
    angles = add("Mul", positions, _frequencies(op, step), hint="angles")
    scale, offset, factor = op.factor.value.data, op.log_offset.value.data, ""
    if scale != 1.0 or offset:
        factor = constant(scale, np.float32)
    if offset:
        moved = add("Add", positions, constant(offset, np.float32), hint="moved")
        factor = add("Mul", add("Log", moved, hint="log"), factor, hint="factor")
    table: list[str] = []
    for kind, hint in (("Cos", "cosines"), ("Sin", "sines")):
        value = add(kind, angles, hint=hint)
        table.append(add("Mul", value, factor, hint=hint) if factor else value)
    step.define(op.result, tuple(table))


def _frequencies(op: RopeTableOp, step: StepGraph) -> str:
    """[half], or a row for each sequence, [batch, 1, half], where call lengths choose it."""
    add, constant = step.writer.add, step.writer.constant
    starts, shape = plain(op.starts), op.frequencies.get_shape()
    rows = np.asarray(plain(op.frequencies), np.float32).reshape(shape)
    if len(starts) == 1:
        return constant(rows[0], np.float32)
    calls = add("Unsqueeze", step.batch.call_lengths, constant([1]), hint="calls")
    reached = add("GreaterOrEqual", calls, constant(starts[1:]), hint="reached")
    reached = add("Cast", reached, to=TensorProto.INT64, hint="reached")
    chosen = add("ReduceSum", reached, constant([1]), keepdims=0, hint="range")
    found = add("Gather", constant(rows, np.float32), chosen, axis=0, hint="frequencies")
    return add("Unsqueeze", found, constant([1]), hint="frequencies")


def _rope(op: RopeOp, step: StepGraph) -> None:
    """Rotated in float32; the dimensions of a head after those of the table stay."""
    require_absent(op, norm=op.norm)
    if op.start.value.data or op.interleaved.value.data:
        raise refused(op, "a part of a head other than its first is rotated", "whole heads")
    cosines, sines = step.value(op.table)
    head_dim, rotated = op.head_dim.value.data, columns_of(op.table)
    result = step.writer.add(
        "RotaryEmbedding",
        step.widened(step.spread(op.x)),
        cosines,
        sines,
        num_heads=columns_of(op.x) // head_dim,
        rotary_embedding_dim=0 if rotated == head_dim else rotated,
        hint=hint_of(op.result),
    )
    step.define_spread(op.result, step.narrowed(result))


LOWERINGS: Lowerings = {RmsNormOp: _rms_norm, RopeTableOp: _rope_table, RopeOp: _rope}
