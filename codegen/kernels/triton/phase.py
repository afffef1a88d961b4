"""Which phase of a model an operation belongs to."""

from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from sala_compile.runtime.artifact import PhaseName


def is_decode(op: Operation) -> bool:
    """Whether the operation is part of `@decode`: one new token for each sequence."""
    parent: Operation | None = op
    while parent is not None and not isinstance(parent, FuncOp):
        parent = parent.parent_op()
    return parent is not None and parent.sym_name.data == PhaseName.DECODE.value
