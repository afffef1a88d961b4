"""Attention and Lightning attention, between the projections."""

from dataclasses import asdict

from xdsl.ir import SSAValue

from sala_compile.codegen.onnx_export.function_library import DOMAIN
from sala_compile.codegen.onnx_export.step_graph import (
    Lowerings,
    StepGraph,
    hint_of,
    require_absent,
)
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    LightningAttentionOp,
    SoftmaxAttentionOp,
    plain,
)


def _softmax_attention(op: SoftmaxAttentionOp, step: StepGraph) -> None:
    heads = op.heads.data
    past_key, past_value = step.value(op.kv)
    out, *present = step.writer.add_all(
        "Attention",
        *(step.spread(value) for value in (op.q, op.k, op.v)),
        step.batch.causal,
        past_key,
        past_value,
        hints=(hint_of(op.out), "present_key", "present_value"),
        q_num_heads=heads.num_heads,
        kv_num_heads=heads.kv_heads,
        scale=heads.scale,
    )
    step.define_spread(op.out, out)
    step.define(op.kv_out, tuple(present))


def _block_sparse_attention(op: BlockSparseAttentionOp, step: StepGraph) -> None:
    """A function of standard operators, which a runtime that knows its name may replace.

    Compressed keys have no state: they are means of the past keys, or of those that blocks are
    chosen by, which then are a state of their own.
    """
    heads, (past_key, past_value) = op.heads.data, step.value(op.kv)
    present = [
        _appended(past, step.spread(new), heads, step, hint)
        for past, new, hint in (
            (past_key, op.k, "present_key"),
            (past_value, op.v, "present_value"),
        )
    ]
    choosing_query, choosing_key = step.spread(op.q), present[0]
    if op.choosing_q is not None and op.choosing_k is not None and op.recent is not None:
        (past,) = step.value(op.recent)
        choosing_query, new = step.spread(op.choosing_q), step.spread(op.choosing_k)
        choosing_key = _appended(past, new, heads, step, "present_choosing_key")
    out = step.writer.add(
        step.functions.use("BlockSparseAttention"),
        step.spread(op.q),
        *present,
        choosing_query,
        choosing_key,
        step.batch.mask,
        step.batch.call_lengths,
        domain=DOMAIN,
        hint=hint_of(op.out),
        num_heads=heads.num_heads,
        kv_heads=heads.kv_heads,
        scale=heads.scale,
        **asdict(op.selection.data),
    )
    step.define_spread(op.out, out)
    step.define(op.kv_out, tuple(present))
    step.define(op.ck_out, ())
    if op.recent_out is not None:
        step.define(op.recent_out, (choosing_key,))


def _appended(past: str, new: str, heads: Heads, step: StepGraph, hint: str) -> str:
    """Keys or values [batch, kv heads, past + sequence, size]: new ones after those before."""
    shape = step.batch.shape_of(heads.kv_heads, heads.head_dim)
    split = step.writer.add("Reshape", new, shape, hint="heads")
    by_head = step.writer.add("Transpose", split, perm=[0, 2, 1, 3], hint="by_head")
    return step.writer.add("Concat", past, by_head, axis=2, hint=hint)


def _lightning_attention(op: LightningAttentionOp, step: StepGraph) -> None:
    """The gated rule in float32: the decay is a constant for each head.

    Padding neither decays the state nor adds to it.
    """
    require_absent(op, q_norm=op.q_norm, k_norm=op.k_norm, rope=op.rope)
    heads, slopes = op.heads.data, plain(op.slopes)
    query, key, value = (step.widened(step.spread(x)) for x in (op.q, op.k, op.v))
    key = step.writer.add("Mul", key, step.batch.times_real([1.0]), hint="key")
    key, value = (_repeated(each, heads, step, op.k) for each in (key, value))
    (past,) = step.value(op.state)
    out, present = step.writer.add_all(
        "LinearAttention",
        query,
        key,
        value,
        past,
        step.batch.times_real([-slope for slope in slopes]),
        hints=(hint_of(op.out), "present"),
        q_num_heads=heads.num_heads,
        kv_num_heads=heads.num_heads,
        scale=heads.scale,
        update_rule="gated",
    )
    step.define_spread(op.out, step.narrowed(out))
    step.define(op.state_out, (present,))


def _repeated(value: str, heads: Heads, step: StepGraph, like: SSAValue) -> str:
    """Keys or values for every query head, each with a state of its own."""
    if heads.group == 1:
        return value
    add, constant, size = step.writer.add, step.writer.constant, heads.head_dim
    split = add("Reshape", value, step.batch.shape_of(heads.kv_heads, 1, size), hint="split")
    wide = constant([1, 1, 1, heads.group, 1])
    repeated = add("Expand", split, wide, hint=f"{hint_of(like)}_repeated")
    return add("Reshape", repeated, step.batch.shape_of(heads.columns), hint="repeated")


LOWERINGS: Lowerings = {
    BlockSparseAttentionOp: _block_sparse_attention,
    SoftmaxAttentionOp: _softmax_attention,
    LightningAttentionOp: _lightning_attention,
}
