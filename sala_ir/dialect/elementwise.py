"""Element-wise ops between the linears."""

from __future__ import annotations

from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, opt_prop_def, result_def

from sala_compile.sala_ir.dialect.attributes import FloatProperty
from sala_compile.sala_ir.dialect.base import (
    SameActivation,
)
from sala_compile.sala_ir.dialect.plain import floating
from sala_compile.sala_ir.dialect.sala_op import SalaOp


@irdl_op_definition
class OutputGateOp(SalaOp):
    """y = x * sigmoid(gate)."""

    name = "sala.output_gate"

    x = operand_def(SameActivation)
    gate = operand_def(SameActivation)
    result = result_def(SameActivation)

    assembly_format = "$x `,` $gate attr-dict `:` type($x) `,` type($gate) `->` type($result)"


@irdl_op_definition
class SwigluOp(SalaOp):
    """y = gate * sigmoid(gate) * up."""

    name = "sala.swiglu"

    gate = operand_def(SameActivation)
    up = operand_def(SameActivation)
    result = result_def(SameActivation)

    assembly_format = "$gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($result)"


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
