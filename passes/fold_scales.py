"""Take the scale of a residual branch into the product that computes the branch."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns, sole_unrounded
from sala_compile.sala_ir.dialect import ExpertDownOp, LinearOp, ResidualAddOp, element_of
from sala_compile.sala_ir.dialect.plain import floating


class _FoldResidualScale(RewritePattern):
    """h + s * linear(x; t) -> h + linear(x; s * t), and the same for experts."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ResidualAddOp, rewriter: PatternRewriter) -> None:
        scale = op.scale.value.data
        linear = sole_unrounded(op.x, LinearOp) or sole_unrounded(op.x, ExpertDownOp)
        if scale == 1.0 or linear is None or linear.residual is not None:
            return
        linear.properties["scale"] = floating(scale * linear.scale.value.data)
        rewriter.notify_op_modified(linear)
        element = element_of(op.result)
        rewriter.replace(op, ResidualAddOp(op.h, op.x, element=element, layer=op.layer))


@dataclass(frozen=True)
class FoldScales(ModulePass):
    """The scale of a residual branch becomes the scale of the linear at its end."""

    name: ClassVar[str] = "fold-scales"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _FoldResidualScale())
