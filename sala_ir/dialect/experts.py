"""Mixtures of experts: which experts a token takes, and their two products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xdsl.dialects.builtin import TensorType, i32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty
from sala_compile.sala_ir.dialect.base import (
    Activation,
    activation,
    columns_of,
    encoding_of,
    like,
    require,
    require_columns,
    require_shape,
    weight_shape,
)
from sala_compile.sala_ir.dialect.expert_kinds import (
    ExpertActivation,
    ExpertActivationAttr,
    ScoreFunction,
    ScoreFunctionAttr,
)
from sala_compile.sala_ir.dialect.linear import activation_group_for
from sala_compile.sala_ir.dialect.plain import floating, integer
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import DYNAMIC, WeightType
from sala_compile.sala_ir.dialect.weights import EXPERT_ROWS, round_up

ExpertIds = TensorType.constr(i32)
"""Constraint of the numbers of experts."""


@irdl_op_definition
class RouteOp(SalaOp):
    """The `chosen` experts of every token by their scores [T, E], and what each is multiplied by.

    experts [T, chosen] ascending; gates [T, chosen] in the same order. p = softmax(scores) or
    sigmoid(scores), c = p + bias [E]; the experts are in `groups` of neighbours, of which the
    `chosen_groups` are taken whose two largest c have the largest sums; in these the largest c
    are chosen, of equal ones the first. gates are the p of the chosen, divided by their sum + `eps`
    if `normalised`, times `scale`.

    Softmax: Shazeer et al., arXiv 1701.06538; sigmoid, bias and groups: DeepSeek-V3, arXiv
    2412.19437, section 2.1.2.
    """

    name = "sala.route"

    scores = operand_def(Activation)
    bias = opt_operand_def(WeightType)
    function = prop_def(ScoreFunctionAttr)
    chosen = prop_def(IntegerProperty)
    groups = opt_prop_def(IntegerProperty, default_value=integer(1))
    chosen_groups = opt_prop_def(IntegerProperty, default_value=integer(1))
    normalised = opt_prop_def(IntegerProperty, default_value=integer(1))
    eps = opt_prop_def(FloatProperty, default_value=floating(0.0))
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    experts = result_def(ExpertIds)
    gates = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$scores (`bias` `(` $bias^ `:` type($bias) `)`)? `by` $function attr-dict"
        " `:` type($scores) `->` type($experts) `,` type($gates)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """A number and a factor for each chosen expert."""
        chosen = self.chosen.value.data
        return TensorType(i32, [DYNAMIC, chosen]), like(self.scores, element, chosen)

    def verify_(self) -> None:
        """The groups divide the experts and hold enough of them."""
        count, chosen = columns_of(self.scores), self.chosen.value.data
        groups, taken = self.groups.value.data, self.chosen_groups.value.data
        require(
            groups > 0 and count % groups == 0, f"{groups} groups do not divide {count} experts"
        )
        require(0 < taken <= groups, f"{taken} of {groups} groups cannot be chosen")
        room = count // groups * taken
        require(0 < chosen <= room, f"{chosen} experts cannot be chosen among {room}")
        require(groups == 1 or count // groups >= 2, "a group has at least two experts")
        require(self.normalised.value.data in (0, 1), "normalised is 0 or 1")
        if self.bias is not None:
            require_shape(self.bias, (count,), "bias")
        require(_ids(self.experts) == chosen, f"experts must have {chosen} columns")
        require_columns(self.gates, chosen, "gates")


@irdl_op_definition
class ExpertUpOp(SalaOp):
    """The first products of the chosen experts: columns j * R .. of y are act(W_e x), e expert j.

    x [T, K], experts [T, k], y [T, k * R]; weight and gate [E * R, K], experts one below the other
    with R rows each, R a multiple of 64. SwiGLU: silu(gate) * up, of which `weight` gives up; after
    `fuse-swiglu` it has the rows of both, [E * 2 R, K], in turns of 16. With a `limit` above 0 gate
    is at most that before, up within it on both sides. `activation_group` is that of `sala.linear`.
    """

    name = "sala.expert_up"

    x = operand_def(activation("columns"))
    experts = operand_def(ExpertIds)
    weight = operand_def(WeightType)
    gate = opt_operand_def(WeightType)
    count = prop_def(IntegerProperty)
    activation = prop_def(ExpertActivationAttr)
    limit = opt_prop_def(FloatProperty, default_value=floating(0.0))
    activation_group = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$x `,` $experts `,` $weight (`gate` `(` $gate^ `:` type($gate) `)`)? `by` $activation"
        " attr-dict `:` type($x) `,` type($experts) `,` type($weight) `->` type($result)"
    )

    @property
    def is_interleaved(self) -> bool:
        """Whether `weight` has the rows of gate and up in turns."""
        return self.activation.data is ExpertActivation.SWIGLU and self.gate is None

    @property
    def rows(self) -> int:
        """Rows of `weight` that an expert has."""
        return weight_shape(self.weight)[0] // self.count.value.data

    @property
    def width(self) -> int:
        """Columns of an expert in the result."""
        return self.rows // 2 if self.is_interleaved else self.rows

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The columns of every chosen expert."""
        return (like(self.x, element, _ids(self.experts) * self.width),)

    def verify_(self) -> None:
        """Whole experts of the columns of x."""
        _require_stack(self.weight, self.count.value.data, columns_of(self.x), "weight")
        if self.gate is not None:
            gated = self.activation.data is ExpertActivation.SWIGLU
            require(gated, "{} has no gate", self.activation)
            require(self.gate.type == self.weight.type, "gate must be {}", self.weight.type)
        require(self.limit.value.data >= 0, "limit must not be negative")
        _require_group(self.activation_group.value.data, self.weight)
        require_columns(self.result, _ids(self.experts) * self.width, "result")


@irdl_op_definition
class ExpertDownOp(SalaOp):
    """The second products, added up: y = residual + scale * sum_j gates_j W_e x_j, e expert j.

    x [T, k * R], of which the first I columns of every R are x_j; experts and gates [T, k]; weight
    [E * Hp, I], Hp the columns H of y rounded up to 64; j ascending.
    """

    name = "sala.expert_down"

    x = operand_def(Activation)
    experts = operand_def(ExpertIds)
    gates = operand_def(Activation)
    weight = operand_def(WeightType)
    residual = opt_operand_def(activation("columns", "rows"))
    count = prop_def(IntegerProperty)
    scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    activation_group = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(activation("columns", "rows"))

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$x `,` $experts `,` $gates `,` $weight"
        " (`residual` `(` $residual^ `:` type($residual) `)`)? attr-dict"
        " `:` type($x) `,` type($experts) `,` type($gates) `,` type($weight) `->` type($result)"
    )

    @property
    def width(self) -> int:
        """Columns from one chosen expert's to the next one's."""
        return columns_of(self.x) // _ids(self.experts)

    def verify_(self) -> None:
        """Whole experts, whose columns are in those of x."""
        chosen, columns = _ids(self.experts), columns_of(self.x)
        require(columns % chosen == 0, f"{columns} columns are not those of {chosen} experts")
        depth = weight_shape(self.weight)[1]
        require(self.width == round_up(depth, EXPERT_ROWS), f"an expert has {depth} columns in x")
        require_columns(self.gates, chosen, "gates")
        _require_stack(self.weight, self.count.value.data, depth, "weight")
        rows = self.count.value.data * round_up(columns_of(self.result), EXPERT_ROWS)
        require_shape(self.weight, (rows, depth), "weight")
        _require_group(self.activation_group.value.data, self.weight)


def _ids(experts: SSAValue) -> int:
    """How many experts a token takes."""
    shape = cast("TensorType[Attribute]", experts.type).get_shape()
    require(len(shape) == 2 and shape[1] > 0, "experts must be tensor<?xKxi32>")
    return shape[1]


def _require_stack(weight: SSAValue, count: int, columns: int, name: str) -> None:
    shape = weight_shape(weight)
    whole = len(shape) == 2 and count > 0 and shape[0] % (count * EXPERT_ROWS) == 0
    require(whole, f"{name} must be {count} experts of whole {EXPERT_ROWS} rows, not {list(shape)}")
    require(shape[1] == columns, f"{name} must have {columns} columns, not {shape[1]}")


def _require_group(group: int, weight: SSAValue) -> None:
    if group:
        encoding = encoding_of(weight)
        require(not encoding.is_plain, "activations of 8 bits need a weight of integers")
        expected = activation_group_for(encoding.group.data)
        require(group == expected, f"the activation group must be {expected}, not {group}")


__all__ = ["ExpertActivation", "ExpertDownOp", "ExpertUpOp", "RouteOp", "ScoreFunction"]
