"""Matrix products with their epilogues, and column slices of their results."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

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

from sala_compile.sala_ir.dialect.attributes import (
    Epilogue,
    EpilogueAttr,
    FloatProperty,
    IntegerProperty,
)
from sala_compile.sala_ir.dialect.base import (
    RowsActivation,
    SameActivation,
    columns_of,
    element_of,
    encoding_of,
    like,
    require,
    require_columns,
    require_shape,
    weight_shape,
)
from sala_compile.sala_ir.dialect.plain import floating, integer
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.dialect.weights import round_up

SWIGLU_GROUP = 16
"""Rows of gate, then of up, in the weight of a swiglu linear."""
LONGEST_BLOCK = 128
"""The most values of x that share a scale: sums of their products with integers fit 32 bits."""
SHORTEST_BLOCK = 32
"""The fewest values of x that share one: shorter groups of a weight are several of a block."""


def span_for(group: int) -> int:
    """Values of x whose products with integers of a weight are added before they are scaled."""
    return group if group <= LONGEST_BLOCK else gcd(group, LONGEST_BLOCK)


def activation_group_for(group: int) -> int:
    """Values of x that share a scale for a weight whose groups have `group` values."""
    span = span_for(group)
    return span * max(1, SHORTEST_BLOCK // span)


@irdl_op_definition
class LinearOp(SalaOp):
    """y = x W^T + bias; with swiglu y = silu(gate) * up; then y = scale * y + residual.

    x [T, K], W [N, K], bias [N]. With the swiglu epilogue the rows of W (and bias) come from
    `interleave_weights` with group 16 and y has M columns, N = 2 * round_up(M, 16); a `limit` is
    that of `sala.swiglu`. With an
    `activation_group`, blocks of so many values of a row of x become integers of 8 bits times a
    scale before the product (`sala_ir.reference.activations`); W then is stored as integers.
    """

    name = "sala.linear"

    x = operand_def(RowsActivation)
    weight = operand_def(WeightType)
    bias = opt_operand_def(WeightType)
    residual = opt_operand_def(SameActivation)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    epilogue = opt_prop_def(EpilogueAttr, default_value=EpilogueAttr(Epilogue.NONE))
    activation_group = opt_prop_def(IntegerProperty, default_value=integer(0))
    limit = opt_prop_def(FloatProperty, default_value=floating(0.0))
    result = result_def(SameActivation)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$x `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)?"
        " (`residual` `(` $residual^ `:` type($residual) `)`)? (`epilogue` $epilogue^)?"
        " attr-dict `:` type($x) `,` type($weight) `->` type($result)"
    )

    @property
    def is_swiglu(self) -> bool:
        """Whether the epilogue is SwiGLU."""
        return self.epilogue.data is Epilogue.SWIGLU

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """A column for each row of the weight; for two with swiglu, where nothing is padded."""
        rows = weight_shape(self.weight)[0]
        return (like(self.x, element, rows // 2 if self.is_swiglu else rows),)

    def verify_(self) -> None:
        """Weight and bias fit x, the result and the epilogue."""
        self._verify_activations()
        limit = self.limit.value.data
        require(limit >= 0, "limit must not be negative")
        require(self.is_swiglu or not limit, "only the epilogue swiglu has a limit")
        rows = columns_of(self.result)
        if self.is_swiglu:
            rows = 2 * round_up(rows, SWIGLU_GROUP)
        require_shape(self.weight, (rows, columns_of(self.x)), "weight")
        if self.bias is not None:
            require_shape(self.bias, (rows,), "bias")

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

    x = operand_def(RowsActivation)
    start = prop_def(IntegerProperty)
    size = prop_def(IntegerProperty)
    result = result_def(RowsActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The element type of x: a view keeps it."""
        return (like(self.x, element_of(self.x), self.size.value.data),)

    def verify_(self) -> None:
        """The columns lie inside x; a view keeps the element type."""
        start, size, columns = self.start.value.data, self.size.value.data, columns_of(self.x)
        inside = start >= 0 and size > 0 and start + size <= columns
        require(inside, f"columns {start} .. {start + size} lie outside 0 .. {columns}")
        require_columns(self.result, size, "result")
        require(element_of(self.x) == element_of(self.result), "a slice keeps the element type")
