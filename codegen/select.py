"""The selector that `select-kernels` asks: the registry's rules, bound to a target."""

from functools import partial
from typing import Any

from xdsl.ir import Operation

from codegen.kernels.registry import families
from passes.kernel_choice import KernelChoice, NoKernel, Selector, first_fitting


def selector_for(target: Any) -> Selector:
    """The selector that asks the rules of the registry in order for kernels of `target`."""

    def choose(op: Operation) -> KernelChoice | NoKernel:
        rules = [(f.name, partial(f.rule, target=target)) for f in families(op.name, target.kind)]
        return first_fitting(op, rules)

    return choose
