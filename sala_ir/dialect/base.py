"""What all ops of the dialect share: the layer mark, plain parameters, and the state rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from xdsl.dialects.builtin import BFloat16Type, Float32Type, IntegerAttr, TensorType
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import BaseAttr, IRDLOperation, traits_def
from xdsl.traits import OpTrait, Pure
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.dialect.attributes import EncodingAttr, attribute_of, integer, plain
from sala_compile.sala_ir.dialect.types import StateType, WeightType, ids_type


class WritesStateInOrder(OpTrait):
    """Every state that the op updates has no other writer, and its readers stand before the op."""

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

    @property
    def state_updates(self) -> dict[SSAValue, SSAValue]:
        """For each state result the operand that it is the next value of."""
        return {getattr(self, new): getattr(self, old) for new, old in self.CONTINUES}

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """What the op does by call length: (first length, name); nothing where that is all one."""
        return ()

    @property
    def layer(self) -> int | None:
        """Index of the model layer that the op belongs to; None outside the layers."""
        mark = self.attributes.get("layer")
        return mark.value.data if isinstance(mark, IntegerAttr) else None

    @property
    def parameters(self) -> dict[str, Any]:
        """The op's properties as plain Python values, defaults included."""
        definition = self.get_irdl_definition()
        found: dict[str, Any] = {}
        for name, declared in definition.properties.items():
            if name in ("operandSegmentSizes", "resultSegmentSizes"):
                continue
            value = self.properties.get(name, declared.default_value)
            if value is not None:
                found[name] = plain(value)
        return found


def layer_mark(layer: int | None) -> dict[str, Attribute | None]:
    """The discardable attributes that mark an op as part of a layer."""
    return {} if layer is None else {"layer": integer(layer)}


def parameter_properties(parameters: Mapping[str, Any]) -> dict[str, Attribute | None]:
    """Properties from plain keyword values."""
    return {name: attribute_of(value) for name, value in parameters.items()}


def state_updates(op: Operation) -> dict[SSAValue, SSAValue]:
    """For each state result of an op the operand that it is the next value of, as the op states."""
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
    """Raise `VerifyException` unless `user` is the writer itself or a reader that stands before."""
    if user is writer:
        return
    name = state.name_hint or "state"
    if any(value is state for value in state_updates(user).values()):
        raise VerifyException(f"state %{name} has two writers: {writer.name} and {user.name}")
    if user.parent is not writer.parent or writer.is_before_in_block(user):
        raise VerifyException(f"{user.name} reads state %{name} after {writer.name} has updated it")


Activation = TensorType.constr(BaseAttr(Float32Type) | BaseAttr(BFloat16Type))
"""Constraint of an activation operand or result; `columns_of` checks its rank."""

Ids = ids_type()
"""Type of row indices, token ids and per-sequence counts."""

Tables = ids_type(2)
"""Type of the page tables."""


def require(condition: bool, message: str) -> None:
    """Raise `VerifyException` with the message unless the condition holds."""
    if not condition:
        raise VerifyException(message)


def columns_of(value: SSAValue) -> int:
    """The columns of an activation `tensor<?xCxE>`."""
    kind = value.type
    if not isinstance(kind, TensorType) or kind.get_num_dims() != 2 or kind.get_shape()[1] < 0:
        raise VerifyException(f"expected an activation tensor<?xCxE>, found {kind}")
    return kind.get_shape()[1]


def element_of(value: SSAValue) -> Attribute:
    """The element type of an activation, state or weight."""
    kind = value.type
    if isinstance(kind, TensorType | WeightType | StateType):
        return kind.element_type
    raise VerifyException(f"{kind} has no element type")


def require_columns(value: SSAValue, columns: int, name: str) -> None:
    """Raise `VerifyException` unless the activation has that many columns."""
    found = columns_of(value)
    require(found == columns, f"{name} must have {columns} columns, not {found}")


def weight_shape(value: SSAValue) -> tuple[int, ...]:
    """The shape of a weight operand."""
    if not isinstance(value.type, WeightType):
        raise VerifyException(f"expected a weight, found {value.type}")
    return value.type.get_shape()


def encoding_of(value: SSAValue) -> EncodingAttr:
    """The encoding of a weight operand."""
    if not isinstance(value.type, WeightType):
        raise VerifyException(f"expected a weight, found {value.type}")
    return value.type.encoding


def require_shape(value: SSAValue, shape: tuple[int, ...], name: str) -> None:
    """Raise `VerifyException` unless the weight has that shape."""
    found = weight_shape(value)
    require(found == shape, f"{name} must have shape {list(shape)}, not {list(found)}")
