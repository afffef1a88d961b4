"""Join an output norm and the gate behind it."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns, sole_unrounded
from sala_compile.sala_ir.dialect import NormGateOp, OutputGateOp, RmsNormOp, columns_of, element_of


class _FuseNormIntoGate(RewritePattern):
    """rms_norm(x; w) * sigmoid(gate) -> norm_gate(x, w, gate); without a norm, norm_gate(x, gate).

    The norm must have one statistic over all columns.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: OutputGateOp, rewriter: PatternRewriter) -> None:
        norm = sole_unrounded(op.x, RmsNormOp)
        if norm is not None and not _is_whole_row(norm):
            norm = None
        fused = NormGateOp(
            op.x if norm is None else norm.x,
            eps=0.0 if norm is None else norm.eps.value.data,
            weight=None if norm is None else norm.weight,
            gate=op.gate,
            element=element_of(op.result),
            layer=op.layer,
        )
        rewriter.replace(op, fused)


def _is_whole_row(norm: RmsNormOp) -> bool:
    return norm.rows is None and norm.group.value.data == columns_of(norm.x)


@dataclass(frozen=True)
class FuseNormGate(ModulePass):
    """Every output gate that attention did not take becomes a norm_gate, with the norm before it.

    A gate without such a norm becomes a norm_gate without a weight, so that one kernel serves both.
    """

    name: ClassVar[str] = "fuse-norm-gate"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _FuseNormIntoGate())
