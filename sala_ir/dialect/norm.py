"""RMS norms."""

from __future__ import annotations

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import (
    FloatProperty,
    IntegerProperty,
    floating,
    integer,
)
from sala_compile.sala_ir.dialect.base import (
    Activation,
    Ids,
    SalaOp,
    columns_of,
    layer_mark,
    require,
    require_columns,
    require_shape,
)
from sala_compile.sala_ir.dialect.types import WeightType, activation_type


@irdl_op_definition
class RmsNormOp(SalaOp):
    """y = x / sqrt(mean(x^2) + eps) * weight, over each contiguous group of `group` columns.

    `group` is all columns, or the head size for a per-head norm; weight has `group` values. With
    `rows`, output row i is computed from input row rows[i]. With `gate`, y is multiplied by
    sigmoid(gate). Rows and gate exclude each other.
    """

    name = "sala.rms_norm"

    x = operand_def(Activation)
    weight = operand_def(WeightType)
    rows = opt_operand_def(Ids)
    gate = opt_operand_def(Activation)
    eps = prop_def(FloatProperty)
    group = prop_def(IntegerProperty)
    result = result_def(Activation)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$x `,` $weight (`rows` `(` $rows^ `)`)? (`gate` `(` $gate^ `:` type($gate) `)`)?"
        " attr-dict"
        " `:` type($x) `,` type($weight) `->` type($result)"
    )

    def __init__(
        self,
        x: SSAValue,
        weight: SSAValue,
        *,
        eps: float,
        group: int | None = None,
        rows: SSAValue | None = None,
        gate: SSAValue | None = None,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        columns = columns_of(x)
        super().__init__(
            operands=[x, weight, *([] if value is None else [value] for value in (rows, gate))],
            properties={"eps": floating(eps), "group": integer(group or columns)},
            attributes=layer_mark(layer),
            result_types=[activation_type(columns, element)],
        )

    def verify_(self) -> None:
        """Groups divide the columns; weight and gate fit; rows and gate exclude each other."""
        columns, group = columns_of(self.x), self.group.value.data
        require(group > 0, f"group must be positive, not {group}")
        require(columns % group == 0, f"group {group} does not divide {columns} columns")
        require_shape(self.weight, (group,), "weight")
        require_columns(self.result, columns, "result")
        if self.gate is not None:
            require_columns(self.gate, columns, "gate")
            require(self.rows is None, "a norm of chosen rows has no gate")
        require(self.eps.value.data >= 0, "eps must not be negative")
