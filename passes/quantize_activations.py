"""Let linears with integer weights read integers of 8 bits."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from sala_compile.passes.support.quantization import matrices_of, role_of
from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import (
    ExpertDownOp,
    ExpertUpOp,
    LinearOp,
    activation_group_for,
)
from sala_compile.sala_ir.dialect.base import encoding_of
from sala_compile.sala_ir.dialect.plain import integer


class Activations(StrEnum):
    """What linears with integer weights multiply them by."""

    WIDE = "wide"
    """Values of the model's element type, as they are."""
    INT8 = "int8"
    """Integers of 8 bits with a scale for each block of a row."""


class _RoundActivations(RewritePattern):
    """linear(x, W) -> linear(round(x), W) where W is integers, but for sensitive ones."""

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self, op: LinearOp | ExpertUpOp | ExpertDownOp, rewriter: PatternRewriter
    ) -> None:
        encoding = encoding_of(matrices_of(op)[0])
        if encoding.is_plain or op.activation_group.value.data or role_of(op).is_sensitive:
            return
        op.properties["activation_group"] = integer(activation_group_for(encoding.group.data))
        rewriter.notify_op_modified(op)


@dataclass(frozen=True)
class QuantizeActivations(ModulePass):
    """`int8`: linears with integer weights round their input, those of sensitive weights do not.

    Runs after the encoding of weights and before projections are merged, which ends roles.
    """

    name: ClassVar[str] = "quantize-activations"
    activations: Activations | str = Activations.WIDE

    def __post_init__(self) -> None:
        """Accept the text form of the option."""
        object.__setattr__(self, "activations", Activations(self.activations))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place."""
        if self.activations is Activations.INT8:
            apply_patterns(op, _RoundActivations())
