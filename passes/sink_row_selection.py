"""Normalise only the rows whose logits are wanted, and compute with no others after that."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    CastOp,
    JoinStreamsOp,
    LinearOp,
    LogitsOp,
    OutputGateOp,
    RmsNormOp,
    Rows,
    SiluOp,
    SliceOp,
    activation_type,
    columns_of,
    element_of,
)

BY_ROWS = (CastOp, JoinStreamsOp, LinearOp, OutputGateOp, SiluOp, SliceOp)
"""Operations that compute row by row, and have kernels for the rows of the logits."""


class _SinkRows(RewritePattern):
    """logits(f(rms_norm(h)), rows, W) -> linear(f(rms_norm(h, rows)), W), f row by row."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LogitsOp, rewriter: PatternRewriter) -> None:
        after = _after_norm(op.h)
        if after is None:
            return
        norm, *others = after
        assert isinstance(norm, RmsNormOp), "where the search ends"
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
        known: dict[SSAValue, SSAValue] = {norm.result: chosen.result}
        copies = [_copy(each, known, rewriter) for each in others]
        head = LinearOp(
            known[op.h],
            op.weight,
            scale=op.scale,
            result_types=[op.result.type],
        )
        rewriter.replace(op, [chosen, *copies, head])


def _after_norm(value: SSAValue) -> list[Operation] | None:
    """One norm, and all that makes a value of it row by row, in order; None if that is not all."""
    found: dict[Operation, None] = {}
    pending, norms = [value], set[Operation]()
    while pending:
        owner = pending.pop().owner
        if isinstance(owner, RmsNormOp) and owner.rows is None and owner.gate is None:
            norms.add(owner)
        elif isinstance(owner, BY_ROWS):
            found[owner] = None
            # Of a linear x alone is an activation; all operands of the others are.
            pending += [owner.x] if isinstance(owner, LinearOp) else list(owner.operands)
        else:
            return None
        if isinstance(owner, LinearOp) and owner.residual is not None:
            return None
    block = value.owner.parent if isinstance(value.owner, Operation) else None
    if len(norms) != 1 or block is None:
        return None
    return [*norms, *(each for each in block.ops if each in found)]


def _copy(op: Operation, known: dict[SSAValue, SSAValue], rewriter: PatternRewriter) -> Operation:
    """The operation over the rows of the logits."""
    copy = op.clone(known)
    for before, after in zip(op.results, copy.results, strict=True):
        kind = activation_type(columns_of(before), element_of(before), Rows.LOGIT_ROWS)
        known[before] = rewriter.replace_value_with_new_type(after, kind)
        known[before].name_hint = before.name_hint
    return copy


@dataclass(frozen=True)
class SinkRowSelection(ModulePass):
    """The rows of the logits are chosen by the last norm; what follows it is over them alone."""

    name: ClassVar[str] = "sink-row-selection"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _SinkRows())
