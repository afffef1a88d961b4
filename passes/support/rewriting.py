"""Helpers of the passes: running patterns, and questions about values."""

from typing import TypeVar

from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Operation, SSAValue
from xdsl.pattern_rewriter import (
    GreedyRewritePatternApplier,
    PatternRewriter,
    PatternRewriteWalker,
    RewritePattern,
)
from xdsl.rewriter import InsertPoint

from sala_compile.sala_ir.dialect import element_of

Op = TypeVar("Op", bound=Operation)


def apply_patterns(module: ModuleOp, *patterns: RewritePattern) -> None:
    """Rewrite until no pattern matches, erasing operations whose results are no longer used."""
    PatternRewriteWalker(GreedyRewritePatternApplier(list(patterns))).rewrite_module(module)


def defined_by(value: SSAValue | None, kind: type[Op]) -> Op | None:
    """The operation of that kind which defines the value, if one does."""
    if value is not None and isinstance(value.owner, kind):
        return value.owner
    return None


def is_unrounded(value: SSAValue) -> bool:
    """Whether the value is f32: an operation may then take over the one that defines it.

    A bf16 value is rounded where it is defined, which a fused operation would not do.
    """
    return element_of(value) == f32


def sole_unrounded(value: SSAValue | None, kind: type[Op]) -> Op | None:
    """The operation of that kind that defines the value, if it may be fused into its only user."""
    op = defined_by(value, kind)
    if op is None or value is None or not value.has_one_use() or not is_unrounded(value):
        return None
    return op


def precedes(value: SSAValue, op: Operation) -> bool:
    """Whether the value is known when `op` runs, in the same block."""
    owner = value.owner
    if not isinstance(owner, Operation):
        return owner is op.parent
    return owner.parent is op.parent and owner.is_before_in_block(op)


def hoist_weight(value: SSAValue, op: Operation, rewriter: PatternRewriter) -> None:
    """Move the weight-side operations that compute `value` before `op`, if they are after it."""
    owner = value.owner
    if precedes(value, op) or not isinstance(owner, Operation):
        return
    for operand in owner.operands:
        hoist_weight(operand, op, rewriter)
    owner.detach()
    rewriter.insert(owner, InsertPoint.before(op))


def joined_hint(*values: SSAValue) -> str | None:
    """A name for a value that holds all of these."""
    hints = [value.name_hint for value in values if value.name_hint]
    return "_".join(hints) or None
