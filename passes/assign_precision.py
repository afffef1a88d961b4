"""Decide where values are rounded to bfloat16."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import Float32Type, FunctionType, ModuleOp, TensorType, bf16, f32
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation, OpResult, SSAValue, Use
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern
from xdsl.rewriter import InsertPoint

from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    CastOp,
    ExpertDownOp,
    ExpertUpOp,
    LinearOp,
    LogitsOp,
    SalaOp,
    StateType,
)


class Precision(StrEnum):
    """Element type of the weights of linears, and of what they read."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class _RoundCaches(RewritePattern):
    """States that take the element type of the linears hold bf16: keys, values, compressed keys."""

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        arguments = op.body.block.args if isinstance(op, FuncOp) else ()
        caches = [value for value in (*arguments, *op.results) if _is_exact_cache(value.type)]
        for value in caches:
            rewriter.replace_value_with_new_type(value, _rounded(value.type))
        if isinstance(op, FuncOp) and caches:
            _retype_function(op)


def _is_exact_cache(kind: Attribute) -> bool:
    return isinstance(kind, StateType) and kind.NARROW and kind.element_type == f32


def _retype_function(func: FuncOp) -> None:
    """Give a function the type of its arguments, and of its results as they will be."""
    inputs = [argument.type for argument in func.body.block.args]
    outputs = [
        _rounded(kind) if _is_exact_cache(kind) else kind for kind in func.function_type.outputs
    ]
    func.function_type = FunctionType.from_lists(inputs, outputs)


class _RoundLinearInputs(RewritePattern):
    """A value that only linears read as their input is rounded where it is defined."""

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        for result in op.results:
            # What experts add up one after the other, and gates, stay f32 until they are done.
            if _feeds_linears_only(result) and not isinstance(op, ExpertDownOp):
                rewriter.replace_value_with_new_type(result, _rounded(result.type))


class _CastLinearInputs(RewritePattern):
    """What others read too, such as the residual stream, is rounded for linears alone, once."""

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        for result in op.results:
            if not (isinstance(result.type, TensorType) and result.type.element_type == f32):
                continue
            uses = [use for use in result.uses if _is_linear_input(result, use)]
            if uses:
                layer = op.layer if isinstance(op, SalaOp) else None
                cast = CastOp(result, element=bf16, layer=layer)
                cast.result.name_hint = result.name_hint
                rewriter.insert(cast, InsertPoint.after(op))
                for use in uses:
                    use.operation.operands[use.index] = cast.result
                    rewriter.notify_op_modified(use.operation)


def _feeds_linears_only(value: OpResult) -> bool:
    return (
        isinstance(value.type, TensorType)
        and isinstance(value.type.element_type, Float32Type)
        and value.first_use is not None
        and all(_is_linear_input(value, use) for use in value.uses)
    )


def _is_linear_input(value: SSAValue, use: Use) -> bool:
    user = use.operation
    if isinstance(user, LinearOp | ExpertDownOp):
        return user.x is value and user.residual is not value
    if isinstance(user, ExpertUpOp):
        return user.x is value
    return isinstance(user, LogitsOp) and user.h is value


def _rounded(kind: Attribute) -> Attribute:
    """The bf16 form of a cache or of an activation."""
    if isinstance(kind, StateType):
        return kind.with_element(bf16)
    assert isinstance(kind, TensorType)
    return TensorType(bf16, kind.get_shape(), kind.encoding)


@dataclass(frozen=True)
class AssignPrecision(ModulePass):
    """Give every value its element type, which is where it is rounded.

    `float32` leaves the captured module as it is. `bfloat16`: what linears read, keys, values and
    compressed keys become bf16; the residual stream, the results of linears, norms' weights,
    recurrent states and all scores stay f32. Weights follow in `encode-weights`.
    """

    name: ClassVar[str] = "assign-precision"
    dtype: Precision | str = Precision.BFLOAT16

    def __post_init__(self) -> None:
        """Accept the text form of the option."""
        object.__setattr__(self, "dtype", Precision(self.dtype))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Retype the module in place."""
        if self.dtype is Precision.FLOAT32:
            return
        apply_patterns(op, _RoundCaches(), _RoundLinearInputs())
        apply_patterns(op, _CastLinearInputs())
