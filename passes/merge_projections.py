"""One matrix product for the projections that read the same input."""

from dataclasses import dataclass
from typing import Any, ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.support.rewriting import apply_patterns, hoist_weight, joined_hint
from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    LayoutKind,
    LinearOp,
    SliceOp,
    SwigluOp,
    WeightType,
    columns_of,
    element_of,
)


class _MergeSiblings(RewritePattern):
    """linear(x, A), linear(x, B) -> slices of linear(x, concat(A, B))."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LinearOp, rewriter: PatternRewriter) -> None:
        siblings = _siblings(op)
        if len(siblings) < 2 or siblings[0] is not op:
            return
        merged = _merged(siblings, rewriter)
        start = 0
        for sibling in siblings:
            size = columns_of(sibling.result)
            part = SliceOp(merged.result, start=start, size=size, layer=op.layer)
            part.result.name_hint = sibling.result.name_hint
            rewriter.insert(part, InsertPoint.before(op))
            rewriter.replace_all_uses_with(sibling.result, part.result)
            start += size
        for sibling in siblings:
            rewriter.erase(sibling)


def _siblings(op: LinearOp) -> list[LinearOp]:
    """Linears that may be merged with `op`, itself included, in the order of the block."""
    key = _merge_key(op)
    if key is None or op.parent is None:
        return []
    users = {use.operation for use in op.x.uses}
    return [
        user
        for user in op.parent.ops
        if user in users and isinstance(user, LinearOp) and _merge_key(user) == key
    ]


def _merge_key(op: LinearOp) -> tuple[Any, ...] | None:
    """What merged linears have in common; None for one that is not merged.

    Columns of a merged product must be independent, so that there is no epilogue and no residual.
    Gate and up of a swiglu are left to `fuse-swiglu`.
    """
    weight = op.weight.type
    assert isinstance(weight, WeightType)
    if op.residual is not None or op.is_swiglu or _feeds_swiglu(op):
        return None
    if weight.layout.kind.data is not LayoutKind.ROW_MAJOR:
        return None
    bias = None if op.bias is None else element_of(op.bias)
    kind = (weight.element_type, weight.encoding, bias, element_of(op.result))
    return (op.x, op.layer, op.scale, op.activation_group, kind)


def _feeds_swiglu(op: LinearOp) -> bool:
    return any(isinstance(use.operation, SwigluOp) for use in op.result.uses)


def _merged(siblings: list[LinearOp], rewriter: PatternRewriter) -> LinearOp:
    first = siblings[0]
    weight = _joined([op.weight for op in siblings], first, rewriter)
    biases = [op.bias for op in siblings if op.bias is not None]
    merged = LinearOp(
        first.x,
        weight,
        bias=_joined(biases, first, rewriter) if biases else None,
        scale=first.scale,
        activation_group=first.activation_group,
        element=element_of(first.result),
        layer=first.layer,
    )
    merged.result.name_hint = joined_hint(*(op.result for op in siblings))
    rewriter.insert(merged, InsertPoint.before(first))
    return merged


def _joined(weights: list[SSAValue], before: LinearOp, rewriter: PatternRewriter) -> SSAValue:
    for weight in weights:
        hoist_weight(weight, before, rewriter)
    joined = ConcatWeightsOp(weights, layer=before.layer)
    joined.result.name_hint = joined_hint(*weights)
    rewriter.insert(joined, InsertPoint.before(before))
    return joined.result


@dataclass(frozen=True)
class MergeProjections(ModulePass):
    """Query, key, value and gate projections of one input become one linear and column slices.

    Linears with a bias and linears without one are merged among themselves.
    """

    name: ClassVar[str] = "merge-projections"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _MergeSiblings())
