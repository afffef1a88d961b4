"""The RMS norm and the layer norm."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Attribute
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty, Rows
from sala_compile.sala_ir.dialect.base import (
    Ids,
    SameActivation,
    activation,
    columns_of,
    require,
    require_rows,
    require_shape,
    rows_of,
    weight_shape,
)
from sala_compile.sala_ir.dialect.plain import integer
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import WeightType, activation_type


@irdl_op_definition
class RmsNormOp(SalaOp):
    """y = x / sqrt(mean(x^2) + eps) * weight, over each contiguous group of columns.

    A group has as many columns as weight has values: all, or those of a head; or the weight is
    that of so many `groups`. With `rows`, output row i is computed from input row rows[i]. With
    `gate`, y is multiplied by sigmoid(gate).
    """

    name = "sala.rms_norm"

    x = operand_def(activation("columns"))
    weight = operand_def(WeightType)
    rows = opt_operand_def(Ids)
    gate = opt_operand_def(SameActivation)
    eps = prop_def(FloatProperty)
    groups = opt_prop_def(IntegerProperty, default_value=integer(1))
    result = result_def(SameActivation)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$x `,` $weight (`rows` `(` $rows^ `)`)? (`gate` `(` $gate^ `:` type($gate) `)`)?"
        " attr-dict `:` type($x) `,` type($weight) `->` type($result)"
    )

    @property
    def group(self) -> int:
        """Columns that share one statistic."""
        return weight_shape(self.weight)[0] // self.groups.value.data

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The columns of x; its rows, or those of the logits."""
        rows = rows_of(self.x) if self.rows is None else Rows.LOGIT_ROWS
        return (activation_type(columns_of(self.x), element, rows),)

    def verify_(self) -> None:
        """Groups divide the columns; chosen rows are those of the logits."""
        columns, shape = columns_of(self.x), weight_shape(self.weight)
        require(len(shape) == 1, f"weight must have one dimension, not {list(shape)}")
        require(columns % shape[0] == 0, f"groups of {shape[0]} do not divide {columns} columns")
        groups = self.groups.value.data
        fits = groups > 0 and shape[0] % groups == 0
        require(fits, f"{groups} groups do not divide a weight of {shape[0]}")
        require(self.eps.value.data >= 0, "eps must not be negative")
        chosen = rows_of(self.x) if self.rows is None else Rows.LOGIT_ROWS
        require_rows(self.result, chosen, "result")


@irdl_op_definition
class LayerNormOp(SalaOp):
    """y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias, over whole rows.

    x [T, C], weight and bias [C].
    """

    name = "sala.layer_norm"

    x = operand_def(SameActivation)
    weight = operand_def(WeightType)
    bias = operand_def(WeightType)
    eps = prop_def(FloatProperty)
    result = result_def(SameActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$x `,` $weight `,` $bias attr-dict"
        " `:` type($x) `,` type($weight) `,` type($bias) `->` type($result)"
    )

    def verify_(self) -> None:
        """Weight and bias have the columns of x."""
        for name, value in (("weight", self.weight), ("bias", self.bias)):
            require_shape(value, (columns_of(self.x),), name)
        require(self.eps.value.data >= 0, "eps must not be negative")
