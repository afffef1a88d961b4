"""Element-wise ops between the linears."""

from __future__ import annotations

from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, opt_prop_def, result_def

from sala_compile.sala_ir.dialect.attributes import FloatProperty
from sala_compile.sala_ir.dialect.base import (
    RowsActivation,
    SameActivation,
    columns_of,
    require,
)
from sala_compile.sala_ir.dialect.plain import floating
from sala_compile.sala_ir.dialect.sala_op import SalaOp


@irdl_op_definition
class OutputGateOp(SalaOp):
    """y = x * sigmoid(gate).

    A gate of fewer columns, which divide those of x, has one for each run of columns of x: for
    each head, or a single one for all.
    """

    name = "sala.output_gate"

    x = operand_def(SameActivation)
    gate = operand_def(RowsActivation)
    result = result_def(SameActivation)

    assembly_format = "$x `,` $gate attr-dict `:` type($x) `,` type($gate) `->` type($result)"

    def verify_(self) -> None:
        """The columns of the gate divide those of x."""
        columns, gates = columns_of(self.x), columns_of(self.gate)
        require(columns % gates == 0, f"{gates} gates do not divide {columns} columns")


@irdl_op_definition
class SwigluOp(SalaOp):
    """y = gate * sigmoid(gate) * up.

    With a `limit` above 0 gate is at most that before, up within it on both sides.
    """

    name = "sala.swiglu"

    gate = operand_def(SameActivation)
    up = operand_def(SameActivation)
    limit = opt_prop_def(FloatProperty, default_value=floating(0.0))
    result = result_def(SameActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($result)"

    def verify_(self) -> None:
        """No limit is below 0."""
        require(self.limit.value.data >= 0, "limit must not be negative")


@irdl_op_definition
class SiluOp(SalaOp):
    """y = x * sigmoid(x)."""

    name = "sala.silu"

    x = operand_def(SameActivation)
    result = result_def(SameActivation)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"


@irdl_op_definition
class SigmoidOp(SalaOp):
    """y = scale * sigmoid(x)."""

    name = "sala.sigmoid"

    x = operand_def(SameActivation)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    result = result_def(SameActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"


@irdl_op_definition
class SquaredReluOp(SalaOp):
    """y = max(x, 0)^2."""

    name = "sala.squared_relu"

    x = operand_def(SameActivation)
    result = result_def(SameActivation)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"


@irdl_op_definition
class CastOp(SalaOp):
    """y = x, rounded to the element type of the result."""

    name = "sala.cast"

    x = operand_def(SameActivation)
    result = result_def(SameActivation)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"


@irdl_op_definition
class ResidualAddOp(SalaOp):
    """y = h + scale * x: a branch joins the residual stream."""

    name = "sala.residual_add"

    h = operand_def(SameActivation)
    x = operand_def(SameActivation)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    result = result_def(SameActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$h `,` $x attr-dict `:` type($h) `,` type($x) `->` type($result)"
