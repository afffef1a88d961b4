"""Choose how many tokens a page of state covers."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import FunctionType, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern

from sala_compile.passes.support.rewriting import apply_patterns
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import BlockSparseAttentionOp, StateType

PAGE_MULTIPLE = 16
"""Tokens: pages of other sizes than the frontend's are multiples of it."""


@dataclass(frozen=True)
class SetPageSize(ModulePass):
    """Give every state with pages those of `tokens` tokens; None leaves what the frontend chose.

    The blocks that sparse attention selects stay: a page then holds several. CompileError for a
    size that is no multiple of every such block, and of 16.
    """

    name: ClassVar[str] = "set-page-size"
    tokens: int | None = None

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Retype the module in place."""
        if self.tokens is None:
            return
        selecting = (each for each in op.walk() if isinstance(each, BlockSparseAttentionOp))
        for block in {each.selection.data.block_size for each in selecting}:
            _check(self.tokens, block)
        _check(self.tokens, PAGE_MULTIPLE)
        apply_patterns(op, _Retype(self.tokens))


@dataclass(frozen=True)
class _Retype(RewritePattern):
    """States in pages of so many tokens: results of ops, arguments and results of functions."""

    tokens: int

    def match_and_rewrite(self, op: Operation, rewriter: PatternRewriter) -> None:
        arguments = op.body.block.args if isinstance(op, FuncOp) else ()
        odd = [v for v in (*arguments, *op.results) if self._paged(v.type) != v.type]
        for value in odd:
            rewriter.replace_value_with_new_type(value, self._paged(value.type))
        if isinstance(op, FuncOp) and odd:
            inputs = [argument.type for argument in op.body.block.args]
            outputs = [self._paged(kind) for kind in op.function_type.outputs]
            op.function_type = FunctionType.from_lists(inputs, outputs)

    def _paged(self, kind: Attribute) -> Attribute:
        return kind.with_page(self.tokens) if isinstance(kind, StateType) else kind


def _check(tokens: int, unit: int) -> None:
    if tokens % unit:
        raise CompileError(
            f"pages of {tokens} tokens are no whole blocks of {unit}",
            where="--page-size",
            expected=f"a multiple of {unit}",
        )
