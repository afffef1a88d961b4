"""From when to when every value of a phase is needed, and how large it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import IntegerType, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue

from sala_compile.passes.support.functions import argument_names, returned
from sala_compile.runtime.artifact import Dim, PhaseName, Symbol, dim_of
from sala_compile.sala_ir.dialect import (
    KernelCallOp,
    Rows,
    StateType,
    rows_of,
    state_updates,
)

_ROWS = {Rows.TOKENS: Symbol.TOKENS, Rows.LOGIT_ROWS: Symbol.LOGIT_ROWS}
"""How many rows an activation has at most; a decoded token is one of each sequence."""


@dataclass(frozen=True, slots=True)
class LiveValue:
    """An activation: the steps of its phase between which it is needed, both inclusive.

    `shape` is its capacity in elements, without any padding of rows.
    """

    value: SSAValue
    first: int
    last: int
    shape: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class PhaseIntervals:
    """The activations of one phase, in the order of their definition, and its pools.

    `pools` maps every state to the argument that holds its storage: a state is updated in place.
    """

    phase: PhaseName
    calls: tuple[KernelCallOp, ...]
    live: Mapping[SSAValue, LiveValue]
    pools: Mapping[SSAValue, SSAValue]
    returned: tuple[SSAValue, ...]


def phase_intervals(func: FuncOp) -> PhaseIntervals:
    """The live intervals of a function of kernel calls, whose name is that of a phase.

    An argument lives through the whole phase, which may run several times over it (logits of one
    group of rows after the other), and a returned value to the last step. A result without a use
    lives for the step that computes it.
    """
    calls = tuple(op for op in func.body.block.ops if isinstance(op, KernelCallOp))
    steps: dict[Operation, int] = {call: index for index, call in enumerate(calls)}
    kept = returned(func)
    phase = PhaseName(func.sym_name.data)
    live: dict[SSAValue, LiveValue] = {}
    for value in _activations(func, calls):
        first = steps.get(value.owner, 0) if isinstance(value.owner, KernelCallOp) else 0
        outlives = value in kept or not isinstance(value.owner, Operation)
        last = len(calls) - 1 if outlives else _last_use(value, steps, first)
        shape = _shape(value, one_each=phase is PhaseName.DECODE and value not in kept)
        live[value] = LiveValue(value, first, last, shape)
    return PhaseIntervals(phase, calls, live, _pools(func, calls), kept)


def _activations(func: FuncOp, calls: Sequence[KernelCallOp]) -> list[SSAValue]:
    """Float arguments (the stream) and all results of calls that are not states."""
    arguments = [value for value in argument_names(func) if _is_float(value)]
    results = [value for call in calls for value in call.results]
    return [*arguments, *(value for value in results if isinstance(value.type, TensorType))]


def _is_float(value: SSAValue) -> bool:
    kind = value.type
    return isinstance(kind, TensorType) and not isinstance(kind.element_type, IntegerType)


def _last_use(value: SSAValue, steps: Mapping[Operation, int], first: int) -> int:
    return max(
        (steps[use.operation] for use in value.uses if use.operation in steps), default=first
    )


def _shape(value: SSAValue, *, one_each: bool) -> tuple[Dim, ...]:
    """Rows as the type says, `one_each`: of one token of each sequence, and columns.

    The stream that a trunk returns is sized by tokens in every phase: all write the same buffer.
    """
    assert isinstance(value.type, TensorType)
    symbol = _ROWS[rows_of(value)]
    if one_each and symbol is Symbol.TOKENS:
        symbol = Symbol.SEQUENCES
    return (dim_of(symbol), *value.type.get_shape()[1:])


def _pools(func: FuncOp, calls: Sequence[KernelCallOp]) -> dict[SSAValue, SSAValue]:
    pools = {value: value for value in argument_names(func) if isinstance(value.type, StateType)}
    for call in calls:
        pools |= {result: pools[source] for result, source in state_updates(call).items()}
    return pools
