"""From functions of kernel calls to phases: named values, steps, live intervals."""

from dataclasses import dataclass, field
from typing import cast

from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from sala_compile.codegen.layouts.encodings import part_name
from sala_compile.codegen.program import buffers
from sala_compile.codegen.program.stored_state import stored_name, stored_parts
from sala_compile.codegen.weights.weight_table import WeightTable
from sala_compile.passes.live_intervals import phase_intervals
from sala_compile.passes.support.functions import HIDDEN, argument_names, find_function
from sala_compile.passes.support.kernel_choice import Workspace
from sala_compile.runtime.artifact import (
    MODEL_PHASES,
    Phase,
    PhaseName,
    Step,
    Value,
    ValueKind,
)
from sala_compile.sala_ir.dialect.kernel_call import KernelCallOp
from sala_compile.sala_ir.dialect.plain import plain
from sala_compile.sala_ir.dialect.types import StateType, WeightType

LOGITS = "logits"
"""The result of the last phase."""


@dataclass(slots=True)
class ValueTable:
    """All values of a program by name, and the weights among them."""

    values: dict[str, Value] = field(default_factory=dict)
    weights: WeightTable = field(default_factory=WeightTable)
    states: dict[str, dict[str, StateType]] = field(default_factory=dict)
    """The states by the kind of target that has them."""
    tables: dict[str, str] = field(default_factory=dict)
    """The page group of each table of pages."""

    def declare(self, name: str, value: Value) -> str:
        """Enter a value; the same name must mean the same value."""
        found = self.values.setdefault(name, value)
        assert found == value, f"{name} is declared as {found} and as {value}"
        return name

    def input(self, name: str) -> str:
        """Enter `control`, a field of the batch or a table of pages."""
        return self.declare(name, buffers.input_value(name, self.tables))

    def state(self, name: str, kind: StateType, target_kind: str = "cpu") -> str:
        """Enter the pools of a state on targets of a kind; the name that they share."""
        self.states.setdefault(target_kind, {})[name] = kind
        if kind.numbering is not None:
            self.tables[kind.numbering.table] = kind.numbering.group
            self.input(kind.numbering.table)
        own = stored_name(name, kind, target_kind)
        for stored in stored_parts(kind, target_kind):
            self.declare(part_name(own, stored.suffix), stored.value)
        return own

    def weight(self, value: SSAValue, target_kind: str) -> str:
        """Enter the stored tensors of a weight operand of a kernel call."""
        name = self.weights.add(value, target_kind)
        for part in self.weights.weights[name].parts:
            stored = Value(kind=ValueKind.WEIGHT, dtype=part.element, shape=part.shape)
            self.declare(part_name(name, part.suffix), stored)
        return name


class PhaseBuilder:
    """Turns one function of kernel calls into a phase, entering its values in the table.

    `prefix` begins the names of values that belong to this phase alone.
    """

    def __init__(
        self, func: FuncOp, table: ValueTable, prefix: str = "", target_kind: str = "cpu"
    ) -> None:
        self.intervals = phase_intervals(func)
        self.phase = self.intervals.phase
        self.names: dict[SSAValue, str] = {}
        self._prefix = f"{prefix}{self.phase.value}/"
        self._table = table
        self._target_kind = target_kind
        self._counts: dict[str, int] = {}
        self._scratch: dict[str, tuple[int, int]] = {}
        self._name_arguments(func)
        self._name_results()

    def build(self) -> Phase:
        """The phase: one step for each kernel call, in order."""
        steps = tuple(self._step(index, op) for index, op in enumerate(self.intervals.calls))
        found = self.intervals.live.items()
        live = {self.names[value]: (entry.first, entry.last) for value, entry in found}
        return Phase(steps=steps, live=live | self._scratch)

    def _name_arguments(self, func: FuncOp) -> None:
        self.names = argument_names(func)
        for argument, name in argument_names(func).items():
            if isinstance(argument.type, StateType):
                self.names[argument] = self._table.state(name, argument.type, self._target_kind)
            elif argument in self.intervals.live:
                self._declare(HIDDEN, argument)

    def _name_results(self) -> None:
        for value, pool in self.intervals.pools.items():
            self.names[value] = self.names[pool]
        last = LOGITS if self.phase is PhaseName.LOGITS else HIDDEN
        for op in self.intervals.calls:
            stem = self._stem(op)
            for position, result in enumerate(op.results):
                if isinstance(result.type, StateType):
                    continue
                suffix = f".{position}" if position else ""
                is_last = result in self.intervals.returned
                self._declare(last if is_last else stem + suffix, result)

    def _stem(self, op: KernelCallOp) -> str:
        """`prefill/layers.3.linear`, with a number from the second of its kind on."""
        place = "" if op.layer is None else f"layers.{op.layer}."
        stem = f"{self._prefix}{place}{op.family.data}"
        self._counts[stem] = count = self._counts.get(stem, 0) + 1
        return stem if count == 1 else f"{stem}.{count}"

    def _declare(self, name: str, value: SSAValue) -> None:
        rows = self.intervals.live[value].shape[0]
        kind = cast(TensorType, value.type)
        self.names[value] = self._table.declare(name, buffers.activation(kind, rows))

    def _step(self, index: int, op: KernelCallOp) -> Step:
        arguments = tuple(self._argument(index, op, text.data) for text in op.arguments.data)
        return Step(
            kernel=op.symbol.data, family=op.family.data, layer=op.layer, arguments=arguments
        )

    def _argument(self, index: int, op: KernelCallOp, text: str) -> str:
        kind, _, rest = text.partition(":")
        if kind in ("control", "batch"):
            return self._table.input(rest or kind)
        position, _, suffix = rest.partition(".")
        if kind == "workspace":
            return self._workspace(index, op, int(position))
        value = (op.inputs if kind == "in" else op.outputs)[int(position)]
        if isinstance(value.type, WeightType):
            return part_name(self._table.weight(value, self._target_kind), suffix)
        return part_name(self.names[value], suffix)

    def _workspace(self, index: int, op: KernelCallOp, position: int) -> str:
        scratch = Workspace(**plain(op.workspaces.data[position]))
        name = f"{self._prefix}steps.{index}.{scratch.name}"
        self._scratch[name] = (index, index)
        return self._table.declare(name, buffers.workspace(scratch))


def phase_builders(
    module: ModuleOp, table: ValueTable, prefix: str = "", target_kind: str = "cpu"
) -> dict[PhaseName, PhaseBuilder]:
    """A builder for each phase of a module of kernel calls."""
    builders: dict[PhaseName, PhaseBuilder] = {}
    for name in MODEL_PHASES:
        func = find_function(module, name.value)
        assert func is not None, "the module has every phase"
        builders[name] = PhaseBuilder(func, table, prefix, target_kind)
    return builders
