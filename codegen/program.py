"""From modules of kernel calls to the program: values, steps, live intervals, observables."""

from dataclasses import dataclass, field
from typing import Any, cast

from xdsl.dialects.builtin import IntegerType, ModuleOp, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, Operation, SSAValue

from codegen import buffers
from codegen.weight_table import WeightTable
from passes.kernel_choice import Workspace
from runtime.artifact import Phase, PhaseName, Step, Symbol, Value, ValueKind, dim_of
from sala_ir.dialect.attributes import plain
from sala_ir.dialect.base import written_states
from sala_ir.dialect.kernel_call import KernelCallOp
from sala_ir.dialect.types import StateType, WeightType

HIDDEN = "hidden"
"""The residual stream that crosses from prefill and decode to the logits."""
LOGITS = "logits"

ROWS = {
    PhaseName.PREFILL: dim_of(Symbol.TOKENS),
    PhaseName.DECODE: dim_of(Symbol.SEQUENCES),
    PhaseName.LOGITS: dim_of(Symbol.LOGIT_ROWS),
}
"""What the rows of a phase's activations are."""


@dataclass(slots=True)
class ValueTable:
    """All values of a program by name, and the weights among them."""

    values: dict[str, Value] = field(default_factory=dict)
    weights: WeightTable = field(default_factory=WeightTable)

    def declare(self, name: str, value: Value) -> str:
        """Enter a value; the same name must mean the same value."""
        found = self.values.setdefault(name, value)
        assert found == value, f"{name} is declared as {found} and as {value}"
        return name

    def input(self, name: str) -> str:
        """Enter `control` or a field of the batch."""
        return self.declare(name, buffers.input_value(name))

    def weight(self, value: SSAValue) -> str:
        """Enter a weight operand of a kernel call."""
        name = self.weights.add(value)
        packed = self.weights.weights[name]
        stored = Value(kind=ValueKind.WEIGHT, dtype=packed.element, shape=packed.shape)
        return self.declare(name, stored)


class PhaseBuilder:
    """Turns one function of kernel calls into a phase, entering its values in the table."""

    def __init__(self, phase: PhaseName, func: FuncOp, table: ValueTable) -> None:
        self.phase = phase
        self.names: dict[SSAValue, str] = {}
        self._func = func
        self._table = table
        self._steps: list[Step] = []
        self._counts: dict[str, int] = {}
        self._live: dict[str, tuple[int, int]] = {}
        self._returned = self._name_returned(func)

    def build(self) -> Phase:
        """The phase: one step for each kernel call, in order."""
        for argument in self._func.body.block.args:
            self._name_argument(argument)
        for op in self._func.body.block.ops:
            if isinstance(op, KernelCallOp):
                self._call(op)
        self._keep_hidden()
        return Phase(steps=tuple(self._steps), live=self._live)

    @property
    def calls(self) -> list[KernelCallOp]:
        """The kernel calls of the function, in order."""
        return [op for op in self._func.body.block.ops if isinstance(op, KernelCallOp)]

    def _name_returned(self, func: FuncOp) -> dict[SSAValue, str]:
        last = cast(Operation, func.body.block.last_op)
        name = LOGITS if self.phase is PhaseName.LOGITS else HIDDEN
        return {value: name for value in last.operands[:1]}

    def _name_argument(self, argument: BlockArgument) -> None:
        name = argument_name(self._func, argument)
        kind = argument.type
        if isinstance(kind, StateType):
            for part in buffers.pool_parts(kind):
                self._table.declare(_with_suffix(name, part.suffix), part.value)
        elif isinstance(kind, TensorType) and not isinstance(kind.element_type, IntegerType):
            name = HIDDEN
            self._touch(self._table.declare(name, _hidden_value(kind)), 0)
        self.names[argument] = name

    def _call(self, op: KernelCallOp) -> None:
        index = len(self._steps)
        for state, result in zip(written_states(op), _states(op), strict=True):
            self.names[result] = self.names[state]
        for position, result in enumerate(op.results):
            if result not in self.names:
                self._name_result(op, position)
        arguments = tuple(self._argument(op, text.data, index) for text in op.arguments.data)
        for name in arguments:
            if self._table.values[name].kind in (ValueKind.ACTIVATION, ValueKind.WORKSPACE):
                self._touch(name, index)
        self._steps.append(
            Step(kernel=op.symbol.data, family=op.family.data, layer=op.layer, arguments=arguments)
        )

    def _name_result(self, op: KernelCallOp, position: int) -> None:
        result = op.results[position]
        kind = cast(TensorType, result.type)
        if result in self._returned:
            name = self._returned[result]
            rows = _hidden_value(kind) if name == HIDDEN else self._activation(kind)
            self.names[result] = self._table.declare(name, rows)
            return
        place = "" if op.layer is None else f"layers.{op.layer}."
        stem = f"{self.phase.value}/{place}{op.family.data}"
        if position == 0:
            self._counts[stem] = self._counts.get(stem, 0) + 1
        number = self._counts[stem]
        name = stem + (f".{number}" if number > 1 else "") + (f".{position}" if position else "")
        self.names[result] = self._table.declare(name, self._activation(kind))

    def _activation(self, kind: TensorType) -> Value:
        return buffers.activation(kind, ROWS[self.phase])

    def _argument(self, op: KernelCallOp, text: str, index: int) -> str:
        kind, _, rest = text.partition(":")
        if kind in ("control", "batch"):
            return self._table.input(rest or kind)
        position, _, suffix = rest.partition(".")
        if kind == "workspace":
            scratch = Workspace(**plain(op.workspaces.data[int(position)]))
            name = f"{self.phase.value}/{index}.{scratch.name}"
            return self._table.declare(name, buffers.workspace(scratch))
        value = (op.inputs if kind == "in" else op.outputs)[int(position)]
        if isinstance(value.type, WeightType):
            return self._table.weight(value)
        return _with_suffix(self.names[value], suffix)

    def _touch(self, name: str, index: int) -> None:
        first, last = self._live.get(name, (index, index))
        self._live[name] = (min(first, index), max(last, index))

    def _keep_hidden(self) -> None:
        if self.phase is not PhaseName.LOGITS and HIDDEN in self._live:
            self._touch(HIDDEN, len(self._steps) - 1)


def _hidden_value(kind: TensorType) -> Value:
    return buffers.activation(kind, dim_of(Symbol.TOKENS))


def _with_suffix(name: str, suffix: str) -> str:
    return f"{name}.{suffix}" if suffix else name


def _states(op: KernelCallOp) -> list[SSAValue]:
    return [result for result in op.results if isinstance(result.type, StateType)]


def argument_name(func: FuncOp, argument: BlockArgument) -> str:
    """The name of a function argument: its `sala.name` attribute."""
    attributes = func.arg_attrs.data[argument.index] if func.arg_attrs is not None else None
    name: Any = attributes.data.get("sala.name") if attributes is not None else None
    assert name is not None, f"argument {argument.index} of {func.sym_name.data} has no name"
    return name.data


def build_phases(
    module: ModuleOp, table: ValueTable
) -> tuple[dict[PhaseName, Phase], dict[PhaseName, PhaseBuilder]]:
    """The phases of a module of kernel calls, and their builders for what else is asked."""
    functions = {op.sym_name.data: op for op in module.ops if isinstance(op, FuncOp)}
    builders = {name: PhaseBuilder(name, functions[name.value], table) for name in PhaseName}
    return {name: builder.build() for name, builder in builders.items()}, builders
