"""Split the step into what runs for every new token and what runs for wanted logits."""

from dataclasses import dataclass
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from sala_compile.passes.support.functions import (
    HIDDEN,
    STEP,
    argument_names,
    copy_part,
    find_function,
    returned,
)
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.errors import CompileError

LOGIT_ROWS = "logit_rows"


@dataclass(frozen=True)
class SpecialisePhases(ModulePass):
    """`@step` becomes `@prefill` and `@decode`, which end at the residual stream, and `@logits`.

    Both trunks are the same graph; `@decode` is called with one new token per sequence. What
    depends on the rows of the logits goes to `@logits`, whose first argument is the stream.
    """

    name: ClassVar[str] = "specialise-phases"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Rewrite the module in place; raises `CompileError` unless one value crosses."""
        step = find_function(op, STEP)
        if step is None:
            return
        tail = _users_of_rows(step)
        hidden = _crossing(step, tail)
        logits = [value for value in returned(step) if value.owner in tail]
        states = [value for value in returned(step) if value.owner not in tail]
        rewriter = Rewriter()
        for phase in (PhaseName.PREFILL, PhaseName.DECODE):
            trunk = copy_part(step, phase.value, [hidden, *states], {})
            rewriter.insert_op(trunk, InsertPoint.before(step))
        tail_function = copy_part(step, PhaseName.LOGITS.value, logits, {hidden: HIDDEN})
        rewriter.insert_op(tail_function, InsertPoint.before(step))
        rewriter.erase_op(step)


def _users_of_rows(step: FuncOp) -> set[Operation]:
    """All operations whose results depend on the rows of the logits."""
    rows = [value for value, name in argument_names(step).items() if name == LOGIT_ROWS]
    tail: set[Operation] = set()
    pending: list[SSAValue] = rows
    while pending:
        for use in pending.pop().uses:
            if use.operation not in tail and not isinstance(use.operation, ReturnOp):
                tail.add(use.operation)
                pending.extend(use.operation.results)
    return tail


def _crossing(step: FuncOp, tail: set[Operation]) -> SSAValue:
    """The one activation that the tail reads from the trunk."""
    found = {
        value
        for op in tail
        for value in op.operands
        if isinstance(value.type, TensorType)
        and isinstance(value.owner, Operation)
        and value.owner not in tail
    }
    if len(found) != 1:
        names = ", ".join(sorted(f"%{value.name_hint}" for value in found)) or "nothing"
        raise CompileError(
            f"{names} crosses from the trunk of the model to its logits",
            where=f"@{step.sym_name.data}",
            expected="exactly one value, the residual stream",
            fix="compute the logits from one value and the argument logit_rows",
        )
    return found.pop()
