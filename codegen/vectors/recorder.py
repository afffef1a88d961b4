"""What the kernels of a target read and write while the reference runs their operations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import BFloat16Type, IntegerType, TensorType
from xdsl.dialects.func import ReturnOp
from xdsl.interpreter import Interpreter
from xdsl.ir import Operation, SSAValue

from sala_compile.codegen.lowering import Lowered
from sala_compile.codegen.vectors.sequences import GoldenPart, is_fixed, state_shapes
from sala_compile.codegen.vectors.tolerance import tolerance
from sala_compile.codegen.vectors.vector_file import TensorStore
from sala_compile.passes.support.functions import find_function
from sala_compile.passes.support.kernel_choice import KernelChoice, base_and_start
from sala_compile.runtime.artifact import PhaseName, Program, Step, Symbol, dim_of
from sala_compile.runtime.artifact.golden import Expected, GoldenType, KernelVector
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect.sala_op import SalaOp, state_updates
from sala_compile.sala_ir.dialect.types import StateType

PHASES = (PhaseName.PREFILL, PhaseName.LOGITS)
"""The phases of a step of several tokens."""


def kernel_operations(lowered: Lowered, phase: PhaseName) -> list[Operation]:
    """The operations of a phase that kernels compute, in the order of its steps."""
    function = find_function(lowered.operations, phase.value)
    assert function is not None, "the module has every phase"
    return [op for op in function.walk() if op in lowered.choices]


def first_operations(group: Sequence[Lowered]) -> frozenset[Operation]:
    """The first target's operations that are the first of a kernel on any target."""
    found: set[Operation] = set()
    for lowered in group:
        seen: set[str] = set()
        for phase in PHASES:
            places = zip(
                kernel_operations(group[0], phase), kernel_operations(lowered, phase), strict=True
            )
            for op, own in places:
                if lowered.choices[own].symbol not in seen:
                    seen.add(lowered.choices[own].symbol)
                    found.add(op)
    return frozenset(found)


@dataclass
class Recorder(Interpreter.Listener):
    """Keeps what the operations in `kept` read and write in a run: activations, written states.

    `draw` gives the states of all slots that a function begins with; they are there from their
    first use to their last one, so that few are in memory at a time. `advance` is called after
    every operation that a kernel computes.
    """

    draw: Callable[[SSAValue], dict[int, Any]]
    advance: Callable[[int], None]
    kernels: frozenset[Operation]
    kept: frozenset[Operation]
    values: dict[SSAValue, Any] = field(default_factory=dict[SSAValue, Any])
    _states: dict[SSAValue, dict[int, Any]] = field(default_factory=dict[SSAValue, dict[int, Any]])
    _done: set[Operation] = field(default_factory=set[Operation])
    _wanted: set[SSAValue] = field(default_factory=set[SSAValue])

    def __post_init__(self) -> None:
        for op in self.kept:
            values = [*op.results, *(base_and_start(operand)[0] for operand in op.operands)]
            self._wanted |= {value for value in values if isinstance(value.type, TensorType)}

    def will_interpret_op(self, op: Operation, args: tuple[Any, ...]) -> None:
        """Keep activations that no operation made, and draw states."""
        for operand, value in zip(op.operands, args, strict=True):
            if operand in self._wanted:
                self.values.setdefault(operand, value)
            elif isinstance(operand.type, StateType) and operand not in self._states:
                value.update(self.draw(operand))
                self._states[operand] = value

    def did_interpret_op(self, op: Operation, results: tuple[Any, ...]) -> None:
        """Keep what the operation made; empty the states that nothing reads any more."""
        self._done.add(op)
        for result, value in zip(op.results, results, strict=True):
            if result in self._wanted:
                self.values[result] = value
            elif isinstance(result.type, StateType):
                self._states[result] = value
                if op in self.kept:
                    self.values[result] = dict(value)
        for state in (*op.operands, *op.results):
            users = (use.operation for use in state.uses)
            if state in self._states and all(
                user in self._done or isinstance(user, ReturnOp) for user in users
            ):
                self._states[state].clear()
        if op in self.kernels:
            self.advance(1)


@dataclass(frozen=True, slots=True)
class RecordedRows:
    """Where the sequences of a step are in a run of the reference.

    `tokens` and `logits` are rows of activations; `slots` those of the sequences' states.
    """

    parts: tuple[GoldenPart, ...]
    tokens: Sequence[int]
    logits: Sequence[int]
    slots: Sequence[int]


@dataclass(frozen=True)
class VectorMaker:
    """Makes the vectors of a target's kernels from what was recorded."""

    recorder: Recorder
    recorded: Lowered
    rows: RecordedRows
    program: Program
    store: TensorStore
    prefix: str

    def vectors(self, lowered: Lowered) -> Iterator[KernelVector]:
        """A vector for every distinct kernel of a target with the operations of the run."""
        seen: set[str] = set()
        target = self.program.targets[lowered.name]
        for phase in PHASES:
            places = zip(
                kernel_operations(self.recorded, phase),
                kernel_operations(lowered, phase),
                target.phases[phase].steps,
                strict=True,
            )
            for index, (op, own, step) in enumerate(places):
                choice = lowered.choices[own]
                assert choice.symbol == step.kernel, "steps are in the order of the operations"
                if choice.symbol not in seen:
                    seen.add(choice.symbol)
                    yield self._vector(op, choice, step, lowered.name, phase, index)

    def _vector(
        self,
        op: Operation,
        choice: KernelChoice,
        step: Step,
        target: str,
        phase: PhaseName,
        index: int,
    ) -> KernelVector:
        name = f"{op.name.removeprefix('sala.')}: {choice.symbol}"
        given: dict[str, str] = {}
        expected: dict[str, Expected] = {}
        states: dict[str, tuple[Expected, ...]] = {}
        for text, value in zip(choice.arguments, step.arguments, strict=True):
            kind, _, rest = text.partition(":")
            number, _, suffix = rest.partition(".")
            place = f"{self.prefix}{phase.value}.{index}.{kind}.{rest}"
            if kind == "out":
                expected[value] = self._output(op, int(number), value, place, name)
            elif kind == "in":
                operand = op.operands[choice.operands[int(number)]]
                if isinstance(operand.type, StateType):
                    states |= self._states(op, operand, suffix, value, place, name)
                elif isinstance(operand.type, TensorType) and not _is_integer(operand.type):
                    given[value] = self._input(operand, value, place)
        return KernelVector(
            name=name,
            kernel=choice.symbol,
            target=target,
            phase=phase,
            step=index,
            given=given,
            expected=expected,
            states=states,
        )

    def _input(self, operand: SSAValue, value: str, place: str) -> str:
        base, _ = base_and_start(operand)
        values = np.asarray(self.recorder.values[base])[self._rows_of(value)]
        return self.store.add(place, values, _golden_type(base.type))

    def _output(self, op: Operation, index: int, value: str, place: str, name: str) -> Expected:
        result = op.results[index]
        values = np.asarray(self.recorder.values[result])[self._rows_of(value)]
        kinds = [each.type for each in (*op.operands, *op.results)]
        rounds = any(isinstance(getattr(k, "element_type", None), BFloat16Type) for k in kinds)
        return self._expected(place, values, _golden_type(result.type), name, rounds=rounds)

    def _states(
        self, op: Operation, operand: SSAValue, suffix: str, value: str, place: str, name: str
    ) -> dict[str, tuple[Expected, ...]]:
        """What a written pool holds after the step, for each sequence; nothing of one only read."""
        result = next((r for r, before in state_updates(op).items() if before is operand), None)
        kind = operand.type
        if result is None or not isinstance(kind, StateType):
            return {}
        index = [part.suffix for part in kind.parts].index(suffix)
        own = kind.parts[index]
        if isinstance(op, SalaOp) and not op.writes(own):
            return {}
        found: list[Expected] = []
        for number, (part, slot) in enumerate(zip(self.rows.parts, self.rows.slots, strict=True)):
            state = self.recorder.values[result][slot]
            array = np.asarray(state[index] if len(kind.parts) > 1 else state)
            if not is_fixed(kind, own):
                array = array[state_shapes(kind, part.history)[index][0] :]
            dtype: GoldenType = "int32" if own.words else _golden_type(kind)
            rounds = dtype == "bfloat16"
            found.append(self._expected(f"{place}.{number}", array, dtype, name, rounds=rounds))
        return {value: tuple(found)}

    def _expected(
        self, place: str, values: np.ndarray, dtype: GoldenType, name: str, *, rounds: bool
    ) -> Expected:
        if not np.isfinite(values).all():
            raise CompileError(
                "the reference computes values that are not finite numbers",
                where=name,
                expected="weights for which ordinary inputs give finite numbers",
                fix="look for weights that are NaN, infinite or very large in the layers that "
                "use it",
            )
        tensor = self.store.add(place, values, dtype)
        if dtype == "int32":
            return Expected(tensor=tensor)
        allowed = tolerance(values, rounds=rounds)
        return Expected(tensor=tensor, absolute=allowed.absolute, relative=allowed.relative)

    def _rows_of(self, value: str) -> list[int]:
        rows = self.program.values[value].shape[0]
        wanted = self.rows.logits if rows == dim_of(Symbol.LOGIT_ROWS) else self.rows.tokens
        return list(wanted)


def _is_integer(kind: Any) -> bool:
    return isinstance(kind.element_type, IntegerType)


def _golden_type(kind: Any) -> GoldenType:
    if isinstance(kind.element_type, BFloat16Type):
        return "bfloat16"
    return "int32" if _is_integer(kind) else "float32"
