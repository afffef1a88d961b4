"""Choose how many tokens a page of state covers."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from sala_compile.passes.support.state_types import retype_states
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    SelectedAttentionOp,
    SelectPoolsOp,
)

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
        for each in op.walk():
            if isinstance(each, SelectedAttentionOp):
                _check(self.tokens, each.pool.value.data)
            elif isinstance(each, SelectPoolsOp):
                _check(self.tokens, each.pool)
        _check(self.tokens, PAGE_MULTIPLE)
        tokens = self.tokens
        retype_states(op, lambda kind: kind.with_page(tokens))


def _check(tokens: int, unit: int) -> None:
    if tokens % unit:
        raise CompileError(
            f"pages of {tokens} tokens are no whole blocks of {unit}",
            where="--page-size",
            expected=f"a multiple of {unit}",
        )
