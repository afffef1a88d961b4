"""Rotary position embedding."""

from __future__ import annotations

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, prop_def, result_def

from sala_compile.sala_ir.dialect.attributes import (
    FloatProperty,
    IntegerProperty,
    floating,
    integer,
)
from sala_compile.sala_ir.dialect.base import (
    Activation,
    SalaOp,
    columns_of,
    layer_mark,
    require,
    require_columns,
)
from sala_compile.sala_ir.dialect.types import BatchType, activation_type


def _require_head(head_dim: int) -> None:
    require(head_dim > 0 and head_dim % 2 == 0, f"head_dim must be even, not {head_dim}")


@irdl_op_definition
class RopeTableOp(SalaOp):
    """Per new token [cos(D/2) | sin(D/2)] of position * theta^(-2i/D), all in float32."""

    name = "sala.rope_table"

    batch = operand_def(BatchType())
    theta = prop_def(FloatProperty)
    head_dim = prop_def(IntegerProperty)
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$batch attr-dict `->` type($result)"

    def __init__(self, batch: SSAValue, *, theta: float, head_dim: int):
        super().__init__(
            operands=[batch],
            properties={"theta": floating(theta), "head_dim": integer(head_dim)},
            result_types=[activation_type(head_dim, f32)],
        )

    def verify_(self) -> None:
        """The table is f32 and as wide as a head."""
        _require_head(self.head_dim.value.data)
        require(self.theta.value.data > 0, "theta must be positive")
        expected = activation_type(self.head_dim.value.data, f32)
        require(self.result.type == expected, f"result must be {expected}")


@irdl_op_definition
class RopeOp(SalaOp):
    """Rotate every head of x, dimension i together with i + D/2."""

    name = "sala.rope"

    x = operand_def(Activation)
    table = operand_def(Activation)
    head_dim = prop_def(IntegerProperty)
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x `,` $table attr-dict `:` type($x) `,` type($table) `->` type($result)"

    def __init__(
        self,
        x: SSAValue,
        table: SSAValue,
        *,
        head_dim: int,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[x, table],
            properties={"head_dim": integer(head_dim)},
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(x), element)],
        )

    def verify_(self) -> None:
        """Heads divide the columns and the table is as wide as a head."""
        head_dim, columns = self.head_dim.value.data, columns_of(self.x)
        _require_head(head_dim)
        require(columns % head_dim == 0, f"head_dim {head_dim} does not divide {columns} columns")
        require_columns(self.table, head_dim, "table")
        require_columns(self.result, columns, "result")
