"""Which phase of a model an operation belongs to, and how its tokens are taken."""

from enum import StrEnum

from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from sala_compile.runtime.artifact import PhaseName


class TokenForm(StrEnum):
    """How the tokens of a sequence are taken."""

    CHUNKS = "chunks"
    """Tokens that are read: parts of each sequence in parallel, chunks within a part."""
    STEP = "step"
    """Tokens that were generated: one after the other."""


def is_decode(op: Operation) -> bool:
    """Whether the operation is part of `@decode`: one new token for each sequence."""
    parent: Operation | None = op
    while parent is not None and not isinstance(parent, FuncOp):
        parent = parent.parent_op()
    return parent is not None and parent.sym_name.data == PhaseName.DECODE.value


def form_of(op: Operation) -> TokenForm:
    """The form of the phase that an operation is part of."""
    return TokenForm.STEP if is_decode(op) else TokenForm.CHUNKS
