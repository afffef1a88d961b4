"""Store the weights of the layers' linears as integers with scales."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f32
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from passes.assign_precision import Precision
from passes.quantization import FRAGILE, Quantization, role_of
from passes.rewriting import apply_patterns
from sala_ir.dialect import LinearOp, QuantizeWeightOp, SalaOp, WeightType


@dataclass(frozen=True)
class _Quantize(RewritePattern):
    """linear(x, W) -> linear(x, quantize(W)), but for linears that must not lose precision."""

    quantization: Quantization
    dtype: Precision

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: LinearOp, rewriter: PatternRewriter) -> None:
        weight = op.weight.type
        assert isinstance(weight, WeightType)
        if not weight.encoding.is_plain or role_of(op) in FRAGILE:
            return
        owner = op.weight.owner
        assert isinstance(owner, SalaOp), "weights are results of weight-side operations"
        element = bf16 if self.dtype is Precision.BFLOAT16 else f32
        quantized = QuantizeWeightOp(
            op.weight, self.quantization.encoding, element, layer=owner.layer
        )
        quantized.result.name_hint = op.weight.name_hint
        rewriter.insert(quantized, InsertPoint.after(owner))
        op.operands[list(op.operands).index(op.weight)] = quantized.result
        rewriter.notify_op_modified(op)


@dataclass(frozen=True)
class QuantizeWeights(ModulePass):
    """Linears of the layers read integers, those of `FRAGILE` roles what they read before.

    Comes before projections are merged: only weights of one encoding can become one matrix.
    """

    name: ClassVar[str] = "quantize-weights"
    quantization: Quantization | str = Quantization.NONE
    dtype: Precision | str = Precision.BFLOAT16

    def __post_init__(self) -> None:
        """Accept the text form of the options."""
        object.__setattr__(self, "quantization", Quantization(self.quantization))
        object.__setattr__(self, "dtype", Precision(self.dtype))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        quantization, dtype = Quantization(self.quantization), Precision(self.dtype)
        if quantization is not Quantization.NONE:
            apply_patterns(op, _Quantize(quantization, dtype))
