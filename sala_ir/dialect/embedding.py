"""The two ends of the model: token ids to hidden rows, hidden rows to logits."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Attribute
from xdsl.irdl import ParsePropInAttrDict, irdl_op_definition, operand_def, opt_prop_def, result_def

from sala_compile.sala_ir.dialect.attributes import FloatProperty, Rows
from sala_compile.sala_ir.dialect.base import (
    Activation,
    Ids,
    columns_of,
    require,
    require_columns,
    require_rows,
    require_shape,
    weight_shape,
)
from sala_compile.sala_ir.dialect.plain import floating
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import WeightType, activation_type


@irdl_op_definition
class EmbeddingOp(SalaOp):
    """result[t] = scale * weight[tokens[t]], weight [V, H]."""

    name = "sala.embedding"

    tokens = operand_def(Ids)
    weight = operand_def(WeightType)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$tokens `,` $weight attr-dict `:` type($weight) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """A column for each column of the matrix."""
        return (activation_type(weight_shape(self.weight)[1], element),)

    def verify_(self) -> None:
        """The result has one column for each column of the matrix."""
        shape = weight_shape(self.weight)
        require(len(shape) == 2, f"embedding weight must be a matrix, not {list(shape)}")
        require_columns(self.result, shape[1], "result")
        require_rows(self.result, Rows.TOKENS, "result")


@irdl_op_definition
class LogitsOp(SalaOp):
    """result[i] = scale * h[rows[i]] W^T, W [V, H]."""

    name = "sala.logits"

    h = operand_def(Activation)
    rows = operand_def(Ids)
    weight = operand_def(WeightType)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$h `,` $rows `,` $weight attr-dict `:` type($h) `,` type($weight) `->` type($result)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """A column for each row of the matrix, a row for each index."""
        return (activation_type(weight_shape(self.weight)[0], element, Rows.LOGIT_ROWS),)

    def verify_(self) -> None:
        """The head fits hidden and vocabulary sizes."""
        require_shape(self.weight, (columns_of(self.result), columns_of(self.h)), "weight")
        require_rows(self.result, Rows.LOGIT_ROWS, "result")
