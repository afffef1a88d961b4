"""Take the norm and the rotation of queries and keys into Lightning attention, or into one op."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns, sole_unrounded
from sala_compile.sala_ir.dialect import (
    LightningAttentionOp,
    RmsNormOp,
    RopeOp,
    columns_of,
    weight_shape,
)


class _FuseRope(RewritePattern):
    """lightning(rope(q, table), rope(k, table)) -> lightning(q, k, rope = table)."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LightningAttentionOp, rewriter: PatternRewriter) -> None:
        q, k = sole_unrounded(op.q, RopeOp), sole_unrounded(op.k, RopeOp)
        if q is None or k is None or op.rope is not None or op.q_norm is not None:
            return
        size = op.heads.data.head_dim
        whole = size == q.head_dim.value.data == k.head_dim.value.data == columns_of(q.table)
        neighbours = q.interleaved.value.data or k.interleaved.value.data
        if q.table is not k.table or not whole or neighbours:
            return
        _replace(op, rewriter, q=q.x, k=k.x, rope=q.table)


class _FuseNorm(RewritePattern):
    """lightning(rms_norm(q), rms_norm(k)) -> lightning(q, k, q_norm, k_norm); both per head."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LightningAttentionOp, rewriter: PatternRewriter) -> None:
        q, k = sole_unrounded(op.q, RmsNormOp), sole_unrounded(op.k, RmsNormOp)
        if q is None or k is None or op.q_norm is not None:
            return
        if q.rows is not None or k.rows is not None or q.eps != k.eps:
            return
        if not weight_shape(q.weight) == weight_shape(k.weight) == (op.heads.data.head_dim,):
            return
        if q.groups.value.data != 1 or k.groups.value.data != 1:
            return
        norms = (q.weight, k.weight)
        _replace(op, rewriter, q=q.x, k=k.x, rope=op.rope, norms=norms, eps=q.eps)


class _NormIntoRope(RewritePattern):
    """rope(rms_norm(x), table) -> rope(x, table, norm); the norm per head."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: RopeOp, rewriter: PatternRewriter) -> None:
        norm = sole_unrounded(op.x, RmsNormOp)
        if norm is None or op.norm is not None or norm.rows is not None or norm.gate is not None:
            return
        if weight_shape(norm.weight) != (op.head_dim.value.data,) or norm.groups.value.data != 1:
            return
        fused = RopeOp(
            norm.x,
            op.table,
            norm.weight,
            head_dim=op.head_dim,
            eps=norm.eps,
            start=op.start,
            interleaved=op.interleaved,
            result_types=[op.result.type],
            layer=op.layer,
        )
        fused.result.name_hint = op.result.name_hint
        rewriter.replace(op, fused)


def _replace(
    op: LightningAttentionOp,
    rewriter: PatternRewriter,
    *,
    q: SSAValue,
    k: SSAValue,
    rope: SSAValue | None,
    norms: tuple[SSAValue, SSAValue] | None = None,
    eps: FloatAttr | None = None,
) -> None:
    q_norm, k_norm = norms or (None, None)
    fused = LightningAttentionOp(
        q,
        k,
        op.v,
        op.state,
        op.batch,
        heads=op.heads,
        eps=eps or op.eps,
        slopes=op.slopes,
        q_norm=q_norm,
        k_norm=k_norm,
        rope=rope,
        result_types=[op.out.type, op.state_out.type],
        layer=op.layer,
    )
    rewriter.replace(op, fused)


@dataclass(frozen=True)
class FuseQkNormRope(ModulePass):
    """Lightning attention normalises each head of q and k and rotates it while it reads them.

    Before other attention, which reads rotated queries and keys, the two are one operation.
    """

    name: ClassVar[str] = "fuse-qk-norm-rope"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place: Lightning first, of it the rotation, then what is left."""
        apply_patterns(op, _FuseRope(), _FuseNorm())
        apply_patterns(op, _NormIntoRope())
