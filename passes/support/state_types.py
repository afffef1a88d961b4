"""Another type for the states of a module, wherever they occur."""

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.dialects.builtin import FunctionType, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.sala_ir.dialect import StateType


def retype_states(module: ModuleOp, of: Callable[[StateType], StateType]) -> None:
    """Give every state the type that `of` makes of its own, in place; `of` of that changes nothing.

    These are results of operations, arguments and results of functions.
    """
    apply_patterns(module, _Retype(of))


@dataclass(frozen=True)
class _Retype(RewritePattern):
    of: Callable[[StateType], StateType]

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        arguments = op.body.block.args if isinstance(op, FuncOp) else ()
        odd = [v for v in (*arguments, *op.results) if self._retyped(v.type) != v.type]
        for value in odd:
            rewriter.replace_value_with_new_type(value, self._retyped(value.type))
        if isinstance(op, FuncOp) and odd:
            inputs = [argument.type for argument in op.body.block.args]
            outputs = [self._retyped(kind) for kind in op.function_type.outputs]
            op.function_type = FunctionType.from_lists(inputs, outputs)

    def _retyped(self, kind: Attribute) -> Attribute:
        return self.of(kind) if isinstance(kind, StateType) else kind
