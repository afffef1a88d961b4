"""Take SwiGLU into the product that computes gate and up."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.support.rewriting import apply_patterns, joined_hint, sole_unrounded
from sala_compile.sala_ir.dialect import (
    SWIGLU_GROUP,
    Epilogue,
    ExpertUpOp,
    InterleaveWeightsOp,
    LinearOp,
    SwigluOp,
)


class _FuseSwiglu(RewritePattern):
    """swiglu(linear(x, G), linear(x, U)) -> linear(x, interleave(G, U)) with the epilogue."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: SwigluOp, rewriter: PatternRewriter) -> None:
        gate, up = sole_unrounded(op.gate, LinearOp), sole_unrounded(op.up, LinearOp)
        if gate is None or up is None or not _may_interleave(gate, up):
            return
        bias = None
        if gate.bias is not None and up.bias is not None:
            bias = _interleaved(gate.bias, up.bias, op, rewriter)
        fused = LinearOp(
            gate.x,
            _interleaved(gate.weight, up.weight, op, rewriter),
            bias=bias,
            epilogue=Epilogue.SWIGLU,
            limit=op.limit,
            activation_group=gate.activation_group,
            result_types=[op.result.type],
            layer=op.layer,
        )
        rewriter.replace(op, fused)


class _InterleaveExperts(RewritePattern):
    """expert_up(x; U, G) by SwiGLU -> expert_up(x; interleave(G, U))."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: ExpertUpOp, rewriter: PatternRewriter) -> None:
        if op.gate is None:
            return
        joined = InterleaveWeightsOp(op.gate, op.weight, group=SWIGLU_GROUP, layer=op.layer)
        joined.result.name_hint = joined_hint(op.gate, op.weight)
        rewriter.insert(joined, InsertPoint.before(op))
        fused = ExpertUpOp(
            op.x,
            op.experts,
            joined.result,
            count=op.count,
            activation=op.activation,
            limit=op.limit,
            activation_group=op.activation_group,
            result_types=[op.result.type],
            layer=op.layer,
        )
        rewriter.replace(op, fused)


def _may_interleave(gate: LinearOp, up: LinearOp) -> bool:
    plain = all(
        linear.residual is None and linear.scale.value.data == 1.0 and not linear.is_swiglu
        for linear in (gate, up)
    )
    same_bias = _type_of(gate.bias) == _type_of(up.bias)
    same_weight = gate.weight.type == up.weight.type
    same_x = gate.x is up.x and gate.activation_group == up.activation_group
    return plain and same_bias and same_weight and same_x


def _type_of(value: SSAValue | None) -> object:
    return None if value is None else value.type


def _interleaved(gate: SSAValue, up: SSAValue, op: SwigluOp, rewriter: PatternRewriter) -> SSAValue:
    joined = InterleaveWeightsOp(gate, up, group=SWIGLU_GROUP, layer=op.layer)
    joined.result.name_hint = joined_hint(gate, up)
    rewriter.insert(joined, InsertPoint.before(op))
    return joined.result


@dataclass(frozen=True)
class FuseSwiglu(ModulePass):
    """Gate and up become one linear over interleaved rows, with SwiGLU as its epilogue.

    The rows of experts are interleaved likewise.
    """

    name: ClassVar[str] = "fuse-swiglu"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        apply_patterns(op, _FuseSwiglu(), _InterleaveExperts())
