"""What the ops say of their operands: constraints, questions and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from xdsl.dialects.builtin import (
    AnyTensorType,
    ArrayAttr,
    BFloat16Type,
    Float32Type,
    IntAttr,
    TensorType,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    AnyAttr,
    AttrConstraint,
    BaseAttr,
    IntConstraint,
    ParamAttrConstraint,
    VarConstraint,
    VerificationContext,
)
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.dialect.attributes import (
    Rows,
    RowsAttr,
)
from sala_compile.sala_ir.dialect.types import StateType, WeightType, activation_type, ids_type
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr


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
