"""The selector that `select-kernels` asks: the registry's rules, bound to a target."""

from functools import partial
from typing import Any

from xdsl.ir import Operation

from sala_compile.codegen.kernels.registry import families
from sala_compile.codegen.kernels.schedules import Schedules
from sala_compile.passes.support.kernel_choice import (
    KernelChoice,
    NoKernel,
    Selector,
    first_fitting,
)


def selector_for(target: Any, schedules: Schedules | None = None) -> Selector:
    """The selector that asks the rules of the registry in order for kernels of `target`.

    `schedules` are those of kernels that were tuned.
    """
    tuned = schedules or Schedules()

    def choose(op: Operation) -> KernelChoice | NoKernel:
        rules = [(f.name, partial(f.rule, target=target)) for f in families(op.name, target.kind)]
        answer = first_fitting(op, rules)
        return tuned.apply(answer) if isinstance(answer, KernelChoice) else answer

    return choose
