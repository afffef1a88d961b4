"""Element-wise ops between the linears."""

from __future__ import annotations

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, opt_prop_def, result_def

from sala_compile.sala_ir.dialect.attributes import FloatProperty, floating
from sala_compile.sala_ir.dialect.base import (
    Activation,
    SalaOp,
    columns_of,
    layer_mark,
    require_columns,
)
from sala_compile.sala_ir.dialect.types import activation_type


@irdl_op_definition
class OutputGateOp(SalaOp):
    """y = x * sigmoid(gate)."""

    name = "sala.output_gate"

    x = operand_def(Activation)
    gate = operand_def(Activation)
    result = result_def(Activation)

    assembly_format = "$x `,` $gate attr-dict `:` type($x) `,` type($gate) `->` type($result)"

    def __init__(
        self, x: SSAValue, gate: SSAValue, *, element: Attribute = f32, layer: int | None = None
    ):
        super().__init__(
            operands=[x, gate],
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(x), element)],
        )

    def verify_(self) -> None:
        """Gate and result have the columns of x."""
        require_columns(self.gate, columns_of(self.x), "gate")
        require_columns(self.result, columns_of(self.x), "result")


@irdl_op_definition
class SwigluOp(SalaOp):
    """y = gate * sigmoid(gate) * up."""

    name = "sala.swiglu"

    gate = operand_def(Activation)
    up = operand_def(Activation)
    result = result_def(Activation)

    assembly_format = "$gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($result)"

    def __init__(
        self, gate: SSAValue, up: SSAValue, *, element: Attribute = f32, layer: int | None = None
    ):
        super().__init__(
            operands=[gate, up],
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(gate), element)],
        )

    def verify_(self) -> None:
        """Up and result have the columns of gate."""
        require_columns(self.up, columns_of(self.gate), "up")
        require_columns(self.result, columns_of(self.gate), "result")


@irdl_op_definition
class ResidualAddOp(SalaOp):
    """y = h + scale * x: a branch joins the residual stream."""

    name = "sala.residual_add"

    h = operand_def(Activation)
    x = operand_def(Activation)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$h `,` $x attr-dict `:` type($h) `,` type($x) `->` type($result)"

    def __init__(
        self,
        h: SSAValue,
        x: SSAValue,
        *,
        scale: float = 1.0,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[h, x],
            properties={"scale": floating(scale)},
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(h), element)],
        )

    def verify_(self) -> None:
        """Branch and result have the columns of the stream."""
        require_columns(self.x, columns_of(self.h), "x")
        require_columns(self.result, columns_of(self.h), "result")
