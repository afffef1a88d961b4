"""Matrix products with their epilogues, and column slices of their results."""

from __future__ import annotations

from math import gcd

from xdsl.dialects.builtin import StringAttr, f32
from xdsl.ir import Attribute, SSAValue
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

from sala_compile.sala_ir.dialect.attributes import (
    Epilogue,
    Extent,
    FloatProperty,
    IntegerProperty,
    floating,
    integer,
)
from sala_compile.sala_ir.dialect.base import (
    Activation,
    SalaOp,
    columns_of,
    element_of,
    encoding_of,
    layer_mark,
    require,
    require_columns,
    require_shape,
    weight_shape,
)
from sala_compile.sala_ir.dialect.types import WeightType, activation_type
from sala_compile.sala_ir.dialect.weights import round_up

SWIGLU_GROUP = 16
"""Rows of gate, then of up, in the weight of a swiglu linear."""
LONGEST_BLOCK = 128
"""Values of x that share a scale at most: sums of their products with integers fit 32 bits."""


def activation_group_for(group: int) -> int:
    """Values of x that share a scale beside a weight whose groups have `group` values."""
    return group if group <= LONGEST_BLOCK else gcd(group, LONGEST_BLOCK)


@irdl_op_definition
class LinearOp(SalaOp):
    """y = x W^T + bias; with swiglu y = silu(gate) * up; then y = scale * y + residual.

    x [T, K], W [N, K], bias [N]. With the swiglu epilogue the rows of W (and bias) come from
    `interleave_weights` with group 16 and y has M columns, N = 2 * round_up(M, 16).
    `extent` names the live count that gives the rows. With an `activation_group`, blocks of so
    many values of a row of x become integers of 8 bits times a scale before the product
    (`sala_ir.reference.activations`); W then is stored as integers.
    """

    name = "sala.linear"

    x = operand_def(Activation)
    weight = operand_def(WeightType)
    bias = opt_operand_def(WeightType)
    residual = opt_operand_def(Activation)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    epilogue = opt_prop_def(StringAttr, default_value=StringAttr(Epilogue.NONE.value))
    extent = opt_prop_def(StringAttr, default_value=StringAttr(Extent.TOKENS.value))
    activation_group = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(Activation)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$x `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)?"
        " (`residual` `(` $residual^ `:` type($residual) `)`)?"
        " attr-dict `:` type($x) `,` type($weight) `->` type($result)"
    )

    def __init__(
        self,
        x: SSAValue,
        weight: SSAValue,
        *,
        bias: SSAValue | None = None,
        residual: SSAValue | None = None,
        scale: float = 1.0,
        epilogue: str = Epilogue.NONE,
        extent: str = Extent.TOKENS,
        activation_group: int = 0,
        columns: int | None = None,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        rows = weight_shape(weight)[0]
        if columns is None:
            columns = rows // 2 if epilogue == Epilogue.SWIGLU else rows
        super().__init__(
            operands=[
                x,
                weight,
                [] if bias is None else [bias],
                [] if residual is None else [residual],
            ],
            properties={
                "scale": floating(scale),
                "epilogue": StringAttr(str(epilogue)),
                "extent": StringAttr(str(extent)),
                "activation_group": integer(activation_group) if activation_group else None,
            },
            attributes=layer_mark(layer),
            result_types=[activation_type(columns, element)],
        )

    def verify_(self) -> None:
        """Weight, bias, residual and result fit each other and the epilogue."""
        require(self.epilogue.data in tuple(Epilogue), f'unknown epilogue "{self.epilogue.data}"')
        require(self.extent.data in tuple(Extent), f'unknown extent "{self.extent.data}"')
        self._verify_activations()
        columns = columns_of(self.result)
        rows = columns
        if self.epilogue.data == Epilogue.SWIGLU:
            rows = 2 * round_up(columns, SWIGLU_GROUP)
        require_shape(self.weight, (rows, columns_of(self.x)), "weight")
        if self.bias is not None:
            require_shape(self.bias, (rows,), "bias")
        if self.residual is not None:
            require_columns(self.residual, columns, "residual")

    def _verify_activations(self) -> None:
        group = self.activation_group.value.data
        if group:
            encoding = encoding_of(self.weight)
            require(not encoding.is_plain, "activations of 8 bits need a weight of integers")
            expected = activation_group_for(encoding.group.data)
            require(group == expected, f"the activation group must be {expected}, not {group}")


@irdl_op_definition
class SliceOp(SalaOp):
    """Columns start .. start + size - 1 of x: a view, never a copy."""

    name = "sala.slice"

    x = operand_def(Activation)
    start = prop_def(IntegerProperty)
    size = prop_def(IntegerProperty)
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue, *, start: int, size: int, layer: int | None = None):
        super().__init__(
            operands=[x],
            properties={"start": integer(start), "size": integer(size)},
            attributes=layer_mark(layer),
            result_types=[activation_type(size, element_of(x))],
        )

    def verify_(self) -> None:
        """The columns lie inside x; a view keeps the element type."""
        start, size, columns = self.start.value.data, self.size.value.data, columns_of(self.x)
        inside = start >= 0 and size > 0 and start + size <= columns
        require(inside, f"columns {start} .. {start + size} lie outside 0 .. {columns}")
        require_columns(self.result, size, "result")
        require(element_of(self.x) == element_of(self.result), "a slice keeps the element type")
