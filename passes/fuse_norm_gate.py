"""Take the gate after an output norm into the norm."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns, sole_unrounded
from sala_compile.sala_ir.dialect import OutputGateOp, RmsNormOp, columns_of


class _FuseGate(RewritePattern):
    """rms_norm(x; w) * sigmoid(gate) -> rms_norm(x, gate; w)."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: OutputGateOp, rewriter: PatternRewriter) -> None:
        norm = sole_unrounded(op.x, RmsNormOp)
        if norm is None or norm.gate is not None or columns_of(op.gate) != columns_of(op.x):
            return
        fused = RmsNormOp(
            norm.x,
            norm.weight,
            norm.rows,
            op.gate,
            eps=norm.eps,
            groups=norm.groups,
            result_types=[op.result.type],
            layer=op.layer,
        )
        rewriter.replace(op, fused)


@dataclass(frozen=True)
class FuseNormGate(ModulePass):
    """A norm multiplies its result by the sigmoid of the gate before it is rounded."""

    name: ClassVar[str] = "fuse-norm-gate"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _FuseGate())
