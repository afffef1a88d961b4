"""Take the residual sum into the product that computes the branch."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns, precedes, sole_unrounded
from sala_compile.sala_ir.dialect import ExpertDownOp, LinearOp, ResidualAddOp


class _FuseResidual(RewritePattern):
    """h + linear(x) -> linear(x, residual = h)."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ResidualAddOp, rewriter: PatternRewriter) -> None:
        linear = sole_unrounded(op.x, LinearOp)
        if linear is None or linear.residual is not None or op.scale.value.data != 1.0:
            return
        if op.h is op.x or not precedes(op.h, op):
            return
        fused = LinearOp(
            linear.x,
            linear.weight,
            bias=linear.bias,
            residual=op.h,
            scale=linear.scale,
            epilogue=linear.epilogue,
            limit=linear.limit,
            activation_group=linear.activation_group,
            result_types=[op.result.type],
            layer=op.layer,
        )
        rewriter.replace(op, fused)


class _FuseExperts(RewritePattern):
    """h + expert_down(x) -> expert_down(x, residual = h)."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ResidualAddOp, rewriter: PatternRewriter) -> None:
        down = sole_unrounded(op.x, ExpertDownOp)
        if down is None or down.residual is not None or op.scale.value.data != 1.0:
            return
        if op.h is op.x or not precedes(op.h, op):
            return
        fused = ExpertDownOp(
            down.x,
            down.experts,
            down.gates,
            down.weight,
            residual=op.h,
            count=down.count,
            scale=down.scale,
            activation_group=down.activation_group,
            result_types=[op.result.type],
            layer=op.layer,
        )
        rewriter.replace(op, fused)


@dataclass(frozen=True)
class FuseResidual(ModulePass):
    """A linear, or experts, at the end of a residual branch add their result to the stream.

    The scale of the branch must be folded before.
    """

    name: ClassVar[str] = "fuse-residual"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _FuseResidual(), _FuseExperts())
