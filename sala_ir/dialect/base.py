"""What all ops of the dialect share: one constructor, the layer mark, the state rule, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from xdsl.dialects.builtin import (
    AnyTensorType,
    ArrayAttr,
    BFloat16Type,
    DenseIntOrFPElementsAttr,
    Float32Type,
    IntAttr,
    IntegerAttr,
    NoneAttr,
    TensorType,
    f32,
)
from xdsl.ir import Attribute, Operation, OpResult, SSAValue, SSAValues
from xdsl.irdl import (
    AnyAttr,
    AttrConstraint,
    BaseAttr,
    IntConstraint,
    IRDLOperation,
    OperandDef,
    OptionalDef,
    OptOperandDef,
    ParamAttrConstraint,
    PropertyDef,
    VarConstraint,
    VariadicDef,
    VerificationContext,
    traits_def,
)
from xdsl.traits import OpTrait, Pure
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.dialect.attributes import (
    FloatProperty,
    HeadsAttr,
    Rows,
    RowsAttr,
    SelectionAttr,
)
from sala_compile.sala_ir.dialect.plain import attribute_of, dense_f32, floating, integer, plain
from sala_compile.sala_ir.dialect.types import StateType, WeightType, activation_type, ids_type
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr

SEGMENTS = ("operandSegmentSizes", "resultSegmentSizes")
"""Properties that say how many values a variadic operand or result has."""


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
        `TypeError` for what the definition does not have, and for what it needs.
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
        """The types of the results, from operands and properties."""
        raise TypeError(f"the result types of {self.name} do not follow from its operands")

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
        """The op's properties as plain values, defaults included; records by their fields."""
        found: dict[str, Any] = {}
        for name, declared in self.get_irdl_definition().properties.items():
            value = self.properties.get(name, declared.default_value)
            if name in SEGMENTS or value is None:
                continue
            is_record = isinstance(value, HeadsAttr | SelectionAttr)
            found |= plain(value) if is_record else {name: plain(value)}
        return found


def _property(declared: PropertyDef, value: Any) -> Attribute | None:
    """The attribute of a plain value for a property; None where it is the default."""
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


@dataclass(frozen=True)
class ColumnsConstraint(AttrConstraint[ArrayAttr[IntAttr]]):
    """The shape `[?, C]` of an activation; those of one `variable` in an op have one C."""

    variable: str | None = None

    def verify(self, attr: Attribute, constraint_context: VerificationContext) -> None:
        """Raise `VerifyException` for another rank, and for other columns than the variable's."""
        shape = [size.data for size in cast(ArrayAttr[IntAttr], attr)]
        is_rows = len(shape) == 2 and shape[1] >= 0
        require(is_rows, "expected an activation tensor<?xCxE>, found the shape {}", shape)
        if self.variable is not None:
            known = constraint_context.get_variable(self.variable) or attr
            expected = cast(ArrayAttr[IntAttr], known).data[1].data
            require(attr == known, "there must be {} columns, not {}", expected, shape[1])
            constraint_context.set_attr_variable(self.variable, attr)

    def mapping_type_vars(
        self, type_var_mapping: Mapping[Any, AttrConstraint | IntConstraint]
    ) -> ColumnsConstraint:
        """The constraint itself: it has no type variables."""
        return self


def activation(
    columns: str | None = None, rows: str | None = None
) -> AttrConstraint[AnyTensorType]:
    """Constraint of an activation `tensor<?xCxE>`, E f32 or bf16.

    Those of an op with one name of `columns` have equal columns, with one of `rows` equal rows.
    """
    element = BaseAttr(Float32Type) | BaseAttr(BFloat16Type)
    encoding = AnyAttr() if rows is None else VarConstraint(rows, AnyAttr())
    return ParamAttrConstraint(TensorType, (ColumnsConstraint(columns), element, encoding))


Activation = activation()
"""Constraint of an activation of any rows and columns."""

RowsActivation = activation(rows="rows")
"""Constraint of the activations of an op that have the same rows."""

SameActivation = activation("columns", "rows")
"""Constraint of the activations of an op that have the same rows and columns."""

Ids = ids_type()
"""Type of row indices, token ids and per-sequence counts."""

Tables = ids_type(2)
"""Type of the page tables."""


def require(condition: bool, message: str, *values: object) -> None:
    """Raise `VerifyException` unless the condition holds; `values` fill the `{}` of the message.

    Types are given as values: printing one takes longer than all other checks.
    """
    if not condition:
        raise VerifyException(message.format(*values) if values else message)


def columns_of(value: SSAValue) -> int:
    """The columns of an activation `tensor<?xCxE>`."""
    kind = value.type
    if not isinstance(kind, TensorType) or kind.get_num_dims() != 2 or kind.get_shape()[1] < 0:
        raise VerifyException(f"expected an activation tensor<?xCxE>, found {kind}")
    return kind.get_shape()[1]


def rows_of(value: SSAValue) -> Rows:
    """Which live count gives the rows of an activation."""
    kind = value.type
    if isinstance(kind, TensorType) and isinstance(kind.encoding, RowsAttr):
        return kind.encoding.data
    return Rows.TOKENS


def element_of(value: SSAValue) -> Attribute:
    """The element type of an activation, state or weight."""
    kind = value.type
    if isinstance(kind, TensorType):
        return cast(Attribute, kind.element_type)
    if isinstance(kind, WeightType | StateType):
        return kind.element_type
    raise VerifyException(f"{kind} has no element type")


def like(value: SSAValue, element: Attribute, columns: int | None = None) -> AnyTensorType:
    """The type of an activation with the rows of another, and its columns if none are given."""
    columns = columns_of(value) if columns is None else columns
    return activation_type(columns, element, rows_of(value))


def require_columns(value: SSAValue, columns: int, name: str) -> None:
    """Raise `VerifyException` unless the activation has that many columns."""
    found = columns_of(value)
    require(found == columns, f"{name} must have {columns} columns, not {found}")


def require_rows(value: SSAValue, rows: Rows, name: str) -> None:
    """Raise `VerifyException` unless that live count gives the rows of the activation."""
    found = rows_of(value)
    require(found is rows, f"the rows of {name} must be {rows}, not {found}")


def weight_type(value: SSAValue) -> WeightType:
    """The type of a weight operand."""
    kind = value.type
    if not isinstance(kind, WeightType):  # printing a type takes longer than all other checks
        raise VerifyException(f"expected a weight, found {kind}")
    return kind


def weight_shape(value: SSAValue) -> tuple[int, ...]:
    """The shape of a weight operand."""
    return weight_type(value).get_shape()


def encoding_of(value: SSAValue) -> EncodingAttr:
    """The encoding of a weight operand."""
    return weight_type(value).encoding


def require_shape(value: SSAValue, shape: tuple[int, ...], name: str) -> None:
    """Raise `VerifyException` unless the weight has that shape."""
    found = weight_shape(value)
    require(found == shape, f"{name} must have shape {list(shape)}, not {list(found)}")
