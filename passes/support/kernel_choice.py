"""What a kernel rule says: the kernel that computes an operation, or why it cannot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xdsl.ir import Attribute, Operation, SSAValue

SpecValue = int | float | str | bool | tuple[int | float | str | bool, ...]
"""A constant that a kernel is compiled for."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Scratch memory of one kernel, `[workers, elements]` and what grows with sizes of a step.

    `elements_per_page` counts elements for each page (block) of the longest sequence,
    `elements_per_token` and `elements_per_sequence` for each new token and sequence of a step.
    """

    name: str
    dtype: str
    elements: int
    elements_per_page: int = 0
    elements_per_token: int = 0
    elements_per_sequence: int = 0


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """One kernel for one operation.

    `operands` are indices into `op.operands`: the inputs of the kernel call, in order. A slice
    is passed as its base value, its start column is in `spec`. `arguments` is the order of
    the kernel's ABI: `control`, `batch:<field>`, `in:<i>` (the i-th of `operands`; the parts of
    a pool are `in:<i>.k`, `.v`, `.fine`, `.coarse`), `out:<i>` (the i-th result of the
    operation) and `workspace:<i>`. `weight_layouts` maps an index into `op.operands` to the
    layout that the kernel reads this weight in; an absent one takes the weight as it is.
    `spec` has every constant of the kernel, so that equal specs are equal kernels.
    """

    symbol: str
    family: str
    spec: Mapping[str, SpecValue]
    operands: tuple[int, ...]
    arguments: tuple[str, ...]
    workspaces: tuple[Workspace, ...] = ()
    weight_layouts: Mapping[int, Attribute] = field(default_factory=dict[int, Attribute])
    rule: str = ""
    rejected: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NoKernel:
    """No rule fits; `rejected` has (rule, reason) of each that was tried."""

    rejected: tuple[tuple[str, str], ...]


Selector = Callable[[Operation], KernelChoice | NoKernel]
"""Chooses the kernel of one kernel-level operation."""

Rule = Callable[[Operation], KernelChoice | str]
"""One way to compute an operation: a choice, or the reason why it does not fit."""


def first_fitting(op: Operation, rules: Sequence[tuple[str, Rule]]) -> KernelChoice | NoKernel:
    """The choice of the first named rule that fits, with the refusals before it."""
    rejected: list[tuple[str, str]] = []
    for name, rule in rules:
        answer = rule(op)
        if isinstance(answer, KernelChoice):
            return replace(answer, rule=name, rejected=tuple(rejected))
        rejected.append((name, answer))
    return NoKernel(tuple(rejected))


def base_and_start(value: SSAValue) -> tuple[SSAValue, int]:
    """The value that a chain of column slices views, and the first column of the view in it."""
    start = 0
    while isinstance(value.owner, Operation) and value.owner.name == "sala.slice":
        start += _integer(value.owner, "start")
        value = value.owner.operands[0]
    return value, start


def _integer(op: Operation, name: str) -> int:
    attribute: Any = op.get_attr_or_prop(name)
    return attribute.value.data
