"""The base of the dialect's ops: one constructor, the layer mark, and the rule of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, IntegerAttr, NoneAttr, f32
from xdsl.ir import Attribute, Operation, OpResult, SSAValue, SSAValues
from xdsl.irdl import (
    BaseAttr,
    IRDLOperation,
    OperandDef,
    OptionalDef,
    OptOperandDef,
    PropertyDef,
    VariadicDef,
    traits_def,
)
from xdsl.traits import OpTrait, Pure
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.dialect.attributes import (
    FloatProperty,
    HeadsAttr,
    LatentHeadsAttr,
    SelectionAttr,
    StateHeadsAttr,
)
from sala_compile.sala_ir.dialect.base import like
from sala_compile.sala_ir.dialect.plain import attribute_of, dense_f32, floating, integer, plain
from sala_compile.sala_ir.dialect.state_parts import StatePart
from sala_compile.sala_ir.dialect.types import StateType

SEGMENTS = ("operandSegmentSizes", "resultSegmentSizes")
"""Properties that say how many values a variadic operand or result has."""
LLVM_19_SEGMENTS = {name: name.replace("Segment", "_segment_").lower() for name in SEGMENTS}
"""What LLVM 19 and before call them, for dialects that are defined in IRDL."""


RECORDS = (HeadsAttr, LatentHeadsAttr, StateHeadsAttr, SelectionAttr)
"""Attributes that are records of parameters."""


class WritesStateInOrder(OpTrait):
    """Every state that the op updates has no other writer, and its readers are before the op."""

    def verify(self, op: Operation) -> None:
        """Raise `VerifyException` where the rule is broken."""
        updates = state_updates(op)
        _check_updates(op, updates)
        for state in updates.values():
            for use in state.uses:
                check_reader(state, op, use.operation)


class SalaOp(IRDLOperation):
    """Base of the dialect's ops: pure functions of values, states included."""

    CONTINUES: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs (state result, state operand that it continues), by their names in the definition."""

    traits = traits_def(Pure(), WritesStateInOrder())

    def __init__(
        self,
        *operands: SSAValue | Sequence[SSAValue] | None,
        result_types: Sequence[Attribute | Sequence[Attribute]] | None = None,
        element: Attribute = f32,
        layer: int | None = None,
        **named: Any,
    ):
        """Operands by position or name, properties by name as plain values or attributes.

        Without `result_types` they are those that `infer` gives for activations of `element`.
        `TypeError` for what the definition does not have, and for what is missing.
        """
        definition = self.get_irdl_definition()
        values = self._bound_operands(definition.operands, operands, named)
        declared = definition.properties.items()
        properties = {
            name: _property(kind, named.pop(name, None))
            for name, kind in declared
            if name not in SEGMENTS
        }
        missing = [
            name
            for name, kind in declared
            if properties.get(name, kind.default_value) is None
            and not (isinstance(kind, OptionalDef) or name in SEGMENTS)
        ]
        if named or missing:
            raise TypeError(f"{self.name} has no {sorted(named)} and needs {missing}")
        placeholders: list[Attribute | list[Attribute]] = [
            [] if isinstance(kind, VariadicDef) else NoneAttr() for _, kind in definition.results
        ]
        super().__init__(
            operands=values,
            properties=properties,
            attributes={} if layer is None else {"layer": integer(layer)},
            result_types=placeholders if result_types is None else result_types,
        )
        if result_types is None:
            kinds = enumerate(self.infer(element))
            self.results = SSAValues(OpResult(kind, self, index) for index, kind in kinds)

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The types of the results, from operands and properties.

        By default a result that continues a state has its type (an optional one is there if the
        state is), and any other is like the first operand.
        """
        declared, states = self.get_irdl_definition().results, dict(self.CONTINUES)
        if any(isinstance(kind, VariadicDef) and name not in states for name, kind in declared):
            raise TypeError(f"the result types of {self.name} do not follow from its operands")
        before = {name: getattr(self, state) for name, state in states.items()}
        present = [name for name, _ in declared if before.get(name, self) is not None]
        first = self.operands[0]
        return [before[name].type if name in before else like(first, element) for name in present]

    def _bound_operands(
        self,
        declared: Sequence[tuple[str, OperandDef]],
        given: Sequence[SSAValue | Sequence[SSAValue] | None],
        named: dict[str, Any],
    ) -> list[SSAValue | Sequence[SSAValue] | None]:
        """The operands in the order of the definition; those given by name leave `named`."""
        names = [name for name, _ in declared]
        if len(given) > len(names):
            raise TypeError(f"{self.name} takes {names}, not {len(given)} operands")
        rest = declared[len(given) :]
        absent = [
            name for name, kind in rest if name not in named and not isinstance(kind, OptOperandDef)
        ]
        if absent:
            raise TypeError(f"{self.name} needs the operands {absent}")
        return [*given, *(named.pop(name, None) for name, _ in rest)]

    def forget_defaults(self) -> None:
        """Drop what the generic form writes out and the op's own form does not."""
        for name in (*LLVM_19_SEGMENTS, *LLVM_19_SEGMENTS.values()):
            self.attributes.pop(name, None)
        for name, declared in self.get_irdl_definition().properties.items():
            is_default = self.properties.get(name) == declared.default_value
            if isinstance(declared, OptionalDef) and is_default:
                self.properties.pop(name, None)

    @property
    def state_updates(self) -> dict[SSAValue, SSAValue]:
        """For each state result, the operand that it continues."""
        pairs = ((getattr(self, new), getattr(self, old)) for new, old in self.CONTINUES)
        return {new: old for new, old in pairs if new is not None}

    def writes(self, part: StatePart) -> bool:
        """Whether it writes a part of the states that it continues; else that stays as it is."""
        return True

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """What the op does by call length: (first length, name); empty if it is always the same."""
        return ()

    @property
    def layer(self) -> int | None:
        """Index of the model layer that the op belongs to; None outside the layers."""
        mark = self.attributes.get("layer")
        return mark.value.data if isinstance(mark, IntegerAttr) else None

    @property
    def parameters(self) -> dict[str, Any]:
        """The op's properties as plain values, defaults included; records by their fields."""
        found: dict[str, Any] = {}
        for name, declared in self.get_irdl_definition().properties.items():
            value = self.properties.get(name, declared.default_value)
            if name in SEGMENTS or value is None:
                continue
            is_record = isinstance(value, RECORDS)
            found |= plain(value) if is_record else {name: plain(value)}
        return found


def _property(declared: PropertyDef, value: Any) -> Attribute | None:
    """The attribute of a plain value for a property; None if it is the default."""
    if value is None:
        return None
    is_dense = declared.constr == BaseAttr(DenseIntOrFPElementsAttr)
    if declared.constr == FloatProperty:
        attribute: Attribute = floating(value)
    elif is_dense and isinstance(value, Sequence):
        attribute = dense_f32(cast(Sequence[float], value))
    else:
        attribute = attribute_of(value)
    is_default = isinstance(declared, OptionalDef) and attribute == declared.default_value
    return None if is_default else attribute


def state_updates(op: Operation) -> dict[SSAValue, SSAValue]:
    """For each state result of an op, the operand that it continues, as the op declares."""
    return op.state_updates if isinstance(op, SalaOp) else {}


def _check_updates(op: Operation, updates: Mapping[SSAValue, SSAValue]) -> None:
    """Refuse a state result whose predecessor is not stated, of another type, or stated twice."""
    for result in op.results:
        if not isinstance(result.type, StateType):
            continue
        before = updates.get(result)
        if before is None or before not in op.operands:
            raise VerifyException(f"{op.name} does not state which operand {result.type} continues")
        if before.type != result.type:
            raise VerifyException(f"{op.name} continues a state {before.type} as {result.type}")
    if len({id(value) for value in updates.values()}) < len(updates):
        raise VerifyException(f"{op.name} continues one state twice")


def check_reader(state: SSAValue, writer: Operation, user: Operation) -> None:
    """Raise `VerifyException` unless `user` is the writer itself or a reader before it."""
    if user is writer:
        return
    name = state.name_hint or "state"
    if any(value is state for value in state_updates(user).values()):
        raise VerifyException(f"state %{name} has two writers: {writer.name} and {user.name}")
    if user.parent is not writer.parent or writer.is_before_in_block(user):
        raise VerifyException(f"{user.name} reads state %{name} after {writer.name} has updated it")
