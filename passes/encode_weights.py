"""Give the weights of linears, experts and embeddings the element type that is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Product, matrices_of
from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    CastWeightOp,
    EmbeddingOp,
    ExpertDownOp,
    ExpertUpOp,
    HeadLinearOp,
    LinearOp,
    LogitsOp,
    NgramEmbeddingOp,
    SalaOp,
    element_of,
)

Reader = (
    LinearOp | ExpertUpOp | ExpertDownOp | EmbeddingOp | HeadLinearOp | LogitsOp | NgramEmbeddingOp
)


class _CastWeight(RewritePattern):
    """op(W) -> op(cast(W)), with one cast for all users of W."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: Reader, rewriter: PatternRewriter) -> None:
        for matrix in _matrices(op):
            if element_of(matrix) != f32:
                continue
            index = next(i for i, operand in enumerate(op.operands) if operand is matrix)
            op.operands[index] = _cast(matrix, rewriter)
            rewriter.notify_op_modified(op)


def _matrices(op: Reader) -> Sequence[SSAValue]:
    if isinstance(op, Product):
        return matrices_of(op)
    return (op.table if isinstance(op, NgramEmbeddingOp) else op.weight,)


def _cast(weight: SSAValue, rewriter: PatternRewriter) -> SSAValue:
    for use in weight.uses:
        if isinstance(use.operation, CastWeightOp) and element_of(use.operation.result) == bf16:
            return use.operation.result
    owner = weight.owner
    assert isinstance(owner, SalaOp), "weights are results of weight-side operations"
    cast = CastWeightOp(weight, bf16, layer=owner.layer)
    cast.result.name_hint = weight.name_hint
    rewriter.insert(cast, InsertPoint.after(owner))
    return cast.result


@dataclass(frozen=True)
class EncodeWeights(ModulePass):
    """`bfloat16` rounds the weights of linears and embeddings; norms and biases stay f32."""

    name: ClassVar[str] = "encode-weights"
    dtype: Precision | str = Precision.BFLOAT16

    def __post_init__(self) -> None:
        """Accept the text form of the option."""
        object.__setattr__(self, "dtype", Precision(self.dtype))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        if self.dtype is Precision.BFLOAT16:
            apply_patterns(op, _CastWeight())
