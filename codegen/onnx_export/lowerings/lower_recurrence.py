"""Short convolutions and gated recurrences, in float32."""

import numpy as np

from sala_compile.codegen.onnx_export.step_graph import Lowerings, StepGraph, hint_of, refused
from sala_compile.sala_ir.attention_sizes import NO_LIMIT
from sala_compile.sala_ir.dialect import (
    GatedDeltaOp,
    ShortConvolutionOp,
    StateSpaceOp,
    weight_shape,
)

REAL = (1.0,)


def _short_convolution(op: ShortConvolutionOp, step: StepGraph) -> None:
    """Over the real tokens alone, brought together, after the window of those before them."""
    add, constant, batch = step.writer.add, step.writer.constant, step.batch
    taps, columns = weight_shape(op.weight)
    (window,) = step.value(op.window)
    x = step.widened(step.spread(op.x))
    real = add("GatherND", x, batch.new_order, batch_dims=1, hint="together")
    known = add("Concat", window, real, axis=1, hint="known")
    weight = step.widened(step.weight(op.weight))
    filters = add("Transpose", weight, perm=[1, 0], hint="filters")
    filters = add("Reshape", filters, constant([columns, 1, taps]), hint="filters")
    bias = [] if op.bias is None else [step.widened(step.weight(op.bias))]
    by_column = add("Transpose", known, perm=[0, 2, 1], hint="by_column")
    dilation = op.dilation.value.data
    y = add(
        "Conv", by_column, filters, *bias, group=columns, dilations=[dilation], hint="convolved"
    )
    y = add("Transpose", y, perm=[0, 2, 1], hint="convolved")
    y = add("GatherND", y, batch.new_ranks, batch_dims=1, hint="in_place")
    y = add("Mul", y, add("Sigmoid", y, hint="sigmoid"), hint=hint_of(op.out))
    step.define_spread(op.out, step.narrowed(y))
    last = add(
        "Add", batch.new_counts, constant(np.arange(dilation * (taps - 1))[None]), hint="last"
    )
    last = add("Unsqueeze", last, constant([2]), hint="last")
    step.define(op.window_out, (add("GatherND", known, last, batch_dims=1, hint="window"),))


def _gated_delta(op: GatedDeltaOp, step: StepGraph) -> None:
    """The gated delta rule; padding neither decays the state nor adds to it."""
    if op.has_channel_decay or op.lower_bound.value.data:
        found = "every row of a state has a decay of its own, or a decay has a bound"
        raise refused(op, found, "one decay of a head, without a bound")
    heads, add = op.heads.data, step.writer.add
    query, key = (
        _by_head(_unit(step.widened(step.spread(x)), op, step), op, step) for x in (op.q, op.k)
    )
    rate = add("Sigmoid", step.widened(step.spread(op.rate)), hint="rate")
    rate = add("Mul", rate, step.batch.times_real([op.rate_scale.value.data]), hint="rate")
    _, decay = _steps(op, step)
    (past,) = step.value(op.state)
    out, present = step.writer.add_all(
        "LinearAttention",
        *(query, key, step.widened(step.spread(op.v)), past, decay, rate),
        hints=(hint_of(op.out), "present"),
        q_num_heads=heads.num_heads,
        kv_num_heads=heads.num_heads,
        scale=heads.scale,
        update_rule="gated_delta",
    )
    step.define_spread(op.out, step.narrowed(out))
    step.define(op.state_out, (present,))


def _state_space(op: StateSpaceOp, step: StepGraph) -> None:
    """Mamba-2 as the gated rule, whose values are multiplied by the step."""
    heads, add, constant = op.heads.data, step.writer.add, step.writer.constant
    query, key = (_by_head(step.widened(step.spread(x)), op, step) for x in (op.q, op.k))
    size, decay = _steps(op, step)
    split = step.batch.shape_of(heads.num_heads, heads.value_dim)
    value = add("Reshape", step.widened(step.spread(op.v)), split, hint="by_head")
    added = add("Mul", value, add("Unsqueeze", size, constant([3]), hint="step"), hint="added")
    together = step.batch.shape_of(heads.value_columns)
    (past,) = step.value(op.state)
    out, present = step.writer.add_all(
        "LinearAttention",
        *(query, key, add("Reshape", added, together, hint="added"), past, decay),
        hints=("read", "present"),
        q_num_heads=heads.num_heads,
        kv_num_heads=heads.num_heads,
        scale=heads.scale,
        update_rule="gated",
    )
    skip = add("Unsqueeze", step.widened(step.weight(op.skip)), constant([1]), hint="skip")
    skipped = add("Reshape", add("Mul", value, skip, hint="skipped"), together, hint="skipped")
    step.define_spread(op.out, step.narrowed(add("Add", out, skipped, hint=hint_of(op.out))))
    step.define(op.state_out, (present,))


def _steps(op: GatedDeltaOp | StateSpaceOp, step: StepGraph) -> tuple[str, str]:
    """softplus(decay + bias), and minus that times exp(decay_rate): float32 [batch, seq, heads].

    Both are 0 for padding.
    """
    add, constant = step.writer.add, step.writer.constant
    x = step.widened(step.spread(op.decay))
    x = add("Add", x, step.widened(step.weight(op.decay_bias)), hint="decay")
    size = add("Softplus", x, hint="step")
    if isinstance(op, StateSpaceOp):
        least, most = op.least.value.data, op.most.value.data
        if least > 0 or most < NO_LIMIT:
            limits = (constant(limit, np.float32) for limit in (least, most))
            size = add("Clip", size, *limits, hint="step")
    size = add("Mul", size, step.batch.times_real(REAL), hint="step")
    speed = add("Exp", step.widened(step.weight(op.decay_rate)), hint="speed")
    return size, add("Neg", add("Mul", size, speed, hint="decay"), hint="decay")


def _unit(x: str, op: GatedDeltaOp, step: StepGraph) -> str:
    """Heads of length one: x / sqrt(sum x^2 + eps)."""
    heads, add, constant = op.heads.data, step.writer.add, step.writer.constant
    split = step.batch.shape_of(heads.key_heads, heads.key_dim)
    parts = add("Reshape", x, split, hint="heads")
    squares = add("ReduceSumSquare", parts, constant([3]), keepdims=1, hint="squares")
    eps = constant(op.eps.value.data, np.float32)
    length = add("Sqrt", add("Add", squares, eps, hint="squares"), hint="length")
    return add(
        "Reshape",
        add("Div", parts, length, hint="unit"),
        step.batch.shape_of(heads.key_columns),
        hint="unit",
    )


def _by_head(x: str, op: GatedDeltaOp | StateSpaceOp, step: StepGraph) -> str:
    """Queries or keys for every head; 0 for padding."""
    heads, add, constant = op.heads.data, step.writer.add, step.writer.constant
    x = add("Mul", x, step.batch.times_real(REAL), hint="real")
    if heads.group == 1:
        return x
    split = step.batch.shape_of(heads.key_heads, 1, heads.key_dim)
    wide = constant([1, 1, 1, heads.group, 1])
    repeated = add("Expand", add("Reshape", x, split, hint="split"), wide, hint="repeated")
    columns = heads.num_heads * heads.key_dim
    return add("Reshape", repeated, step.batch.shape_of(columns), hint="repeated")


LOWERINGS: Lowerings = {
    ShortConvolutionOp: _short_convolution,
    GatedDeltaOp: _gated_delta,
    StateSpaceOp: _state_space,
}
