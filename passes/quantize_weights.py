"""Store the weights of linears as integers with scales."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f32
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization, encoding_for, matrices_of
from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    ExpertDownOp,
    ExpertUpOp,
    LinearOp,
    LogitsOp,
    QuantizeWeightOp,
    SalaOp,
    weight_type,
)


@dataclass(frozen=True)
class _Quantize(RewritePattern):
    """linear(x, W) -> linear(x, quantize(W)), and the same for experts and the logits."""

    quantization: Quantization
    dtype: Precision

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self, op: LinearOp | ExpertUpOp | ExpertDownOp | LogitsOp, rewriter: PatternRewriter
    ) -> None:
        encoding = encoding_for(op, self.quantization)
        for matrix in matrices_of(op):
            if not weight_type(matrix).encoding.is_plain or encoding.is_plain:
                continue
            owner = matrix.owner
            assert isinstance(owner, SalaOp), "weights are results of weight-side operations"
            element = bf16 if self.dtype is Precision.BFLOAT16 else f32
            quantized = QuantizeWeightOp(matrix, encoding, element, layer=owner.layer)
            quantized.result.name_hint = matrix.name_hint
            rewriter.insert(quantized, InsertPoint.after(owner))
            op.operands[list(op.operands).index(matrix)] = quantized.result
            rewriter.notify_op_modified(op)


@dataclass(frozen=True)
class QuantizeWeights(ModulePass):
    """Linears read integers: projections of the quantisation, sensitive ones of 8 bits.

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
