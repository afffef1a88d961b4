"""Normalise only the rows whose logits are wanted."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns, defined_by
from sala_compile.sala_ir.dialect import LinearOp, LogitsOp, RmsNormOp, element_of


class _SinkRows(RewritePattern):
    """logits(rms_norm(h), rows, W) -> linear(rms_norm(h, rows), W)."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LogitsOp, rewriter: PatternRewriter) -> None:
        norm = defined_by(op.h, RmsNormOp)
        if norm is None or norm.rows is not None or norm.gate is not None:
            return
        chosen = RmsNormOp(
            norm.x,
            norm.weight,
            eps=norm.eps,
            groups=norm.groups,
            rows=op.rows,
            element=element_of(norm.result),
            layer=norm.layer,
        )
        chosen.result.name_hint = norm.result.name_hint
        head = LinearOp(
            chosen.result,
            op.weight,
            scale=op.scale,
            result_types=[op.result.type],
        )
        rewriter.replace(op, [chosen, head])


@dataclass(frozen=True)
class SinkRowSelection(ModulePass):
    """The rows of the logits are chosen by the last norm; the head is a linear over them."""

    name: ClassVar[str] = "sink-row-selection"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _SinkRows())
