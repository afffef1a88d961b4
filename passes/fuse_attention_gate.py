"""Take the output gate of attention into it."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.support.rewriting import apply_patterns, precedes, sole_unrounded
from sala_compile.sala_ir.dialect import AttendBlocksOp, AttendPoolsOp, OutputGateOp, columns_of


class _FuseGate(RewritePattern):
    """attend(q) * sigmoid(gate) -> attend(q, gate)."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: OutputGateOp, rewriter: PatternRewriter) -> None:
        attend = sole_unrounded(op.x, AttendBlocksOp)
        if attend is None or attend.gate is not None or not precedes(op.gate, attend):
            return
        if columns_of(op.gate) != columns_of(op.x):
            return
        fused = AttendBlocksOp(
            attend.q,
            attend.kv,
            attend.batch,
            heads=attend.heads,
            blocks=attend.blocks,
            counts=attend.counts,
            block_size=attend.block_size,
            gate=op.gate,
            k=attend.k,
            v=attend.v,
            result_types=[op.result.type, attend.blocks_read.type],
            layer=attend.layer,
        )
        fused.blocks_read.name_hint = attend.blocks_read.name_hint
        rewriter.insert(fused, InsertPoint.before(attend))
        rewriter.replace(op, [], [fused.out])
        rewriter.replace_all_uses_with(attend.blocks_read, fused.blocks_read)
        rewriter.erase(attend)


class _FusePoolsGate(RewritePattern):
    """The same of attention to a selection."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: OutputGateOp, rewriter: PatternRewriter) -> None:
        attend = sole_unrounded(op.x, AttendPoolsOp)
        if attend is None or attend.gate is not None or not precedes(op.gate, attend):
            return
        if columns_of(op.gate) != columns_of(op.x):
            return
        fused = AttendPoolsOp(
            attend.q,
            attend.kv,
            attend.batch,
            attend.selection,
            op.gate,
            heads=attend.heads,
            pool=attend.pool,
            result_types=[op.result.type],
            layer=attend.layer,
        )
        rewriter.insert(fused, InsertPoint.before(attend))
        rewriter.replace(op, [], [fused.out])
        rewriter.erase(attend)


@dataclass(frozen=True)
class FuseAttentionGate(ModulePass):
    """Attention multiplies its result by the sigmoid of the gate before it is rounded."""

    name: ClassVar[str] = "fuse-attention-gate"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _FuseGate(), _FusePoolsGate())
