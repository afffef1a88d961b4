"""The selector that `select-kernels` calls: the registry's rules, bound to a target."""

from functools import partial
from typing import Any

from xdsl.ir import Operation

from sala_compile.codegen.kernels.registry import families
from sala_compile.codegen.kernels.schedules import Schedules
from sala_compile.passes.sink_row_selection import BY_ROWS
from sala_compile.passes.support.kernel_choice import (
    KernelChoice,
    NoKernel,
    Selector,
    first_fitting,
)
from sala_compile.sala_ir.dialect import RmsNormOp, Rows, rows_of


def _has_other_rows(op: Operation) -> bool:
    """Whether an operation works on rows of the logits and has no kernel that counts them."""
    counts = isinstance(op, BY_ROWS) or (isinstance(op, RmsNormOp) and op.rows is not None)
    return not counts and any(rows_of(each) is Rows.LOGIT_ROWS for each in op.results)


def selector_for(target: Any, schedules: Schedules | None = None) -> Selector:
    """The selector that tries the rules of the registry in order for kernels of `target`.

    `schedules` are those of kernels that were tuned.
    """
    tuned = schedules or Schedules()

    def choose(op: Operation) -> KernelChoice | NoKernel:
        if _has_other_rows(op):
            return NoKernel((("rows", "its kernels read the count of tokens"),))
        rules = [(f.name, partial(f.rule, target=target)) for f in families(op.name, target.kind)]
        answer = first_fitting(op, rules)
        return tuned.apply(answer) if isinstance(answer, KernelChoice) else answer

    return choose
