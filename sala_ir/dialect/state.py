"""The state rule for a whole function."""

from __future__ import annotations

from xdsl.dialects.func import FuncOp

from sala_compile.sala_ir.dialect.base import check_reader, written_states


def verify_state_order(func: FuncOp) -> None:
    """Raise `VerifyException` unless each state has at most one writer, after all its readers.

    The verifier of every op checks the states that it writes; this runs the same check over a
    function that has not been verified yet.
    """
    for op in func.walk():
        for state in written_states(op):
            for use in state.uses:
                check_reader(state, op, use.operation)
