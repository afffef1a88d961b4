"""Weight-side ops: evaluated tensor by tensor at compile time, while the checkpoint streams by."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import StringAttr, SymbolNameConstraint
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    var_operand_def,
)
from xdsl.utils.exceptions import VerifyException

from sala_compile.sala_ir.dialect.attributes import (
    EncodingAttr,
    FloatProperty,
    IntegerProperty,
    LayoutAttr,
    LayoutKind,
    floating,
    integer,
)
from sala_compile.sala_ir.dialect.base import SalaOp, layer_mark, require, weight_shape
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.dialect.weight_role import WeightRole, WeightRoleAttr


def _weight_type(value: SSAValue) -> WeightType:
    kind = value.type
    if not isinstance(kind, WeightType):  # printing a type takes longer than all other checks
        raise VerifyException(f"expected a weight, found {kind}")
    return kind


def _require_row_major(*values: SSAValue) -> None:
    kinds = (_weight_type(value).layout.kind.data for value in values)
    require(all(kind == LayoutKind.ROW_MAJOR for kind in kinds), "weight is already packed")


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


@irdl_op_definition
class WeightOp(SalaOp):
    """A tensor of the checkpoint, by its name there, and what it is for."""

    name = "sala.weight"

    tensor_name = prop_def(SymbolNameConstraint())
    role = prop_def(WeightRoleAttr, default_value=WeightRoleAttr(WeightRole.PROJECTION))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$tensor_name attr-dict `:` type($result)"

    def __init__(
        self,
        tensor_name: str,
        result_type: WeightType,
        *,
        role: WeightRole = WeightRole.PROJECTION,
        layer: int | None = None,
    ):
        super().__init__(
            properties={"tensor_name": StringAttr(tensor_name), "role": WeightRoleAttr(role)},
            attributes=layer_mark(layer),
            result_types=[result_type],
        )


@irdl_op_definition
class ConcatWeightsOp(SalaOp):
    """Join weights along an axis."""

    name = "sala.concat_weights"

    parts = var_operand_def(WeightType)
    axis = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$parts attr-dict `:` functional-type($parts, $result)"

    def __init__(self, parts: Sequence[SSAValue], *, axis: int = 0, layer: int | None = None):
        shape = list(weight_shape(parts[0]))
        shape[axis] = sum(weight_shape(part)[axis] for part in parts)
        super().__init__(
            operands=[list(parts)],
            properties={"axis": integer(axis)},
            attributes=layer_mark(layer),
            result_types=[_weight_type(parts[0]).with_shape(shape)],
        )

    def verify_(self) -> None:
        """The parts agree in everything but the axis, whose sizes add up to the result's."""
        require(len(self.parts) > 0, "concat_weights needs at least one part")
        axis, shape = self.axis.value.data, weight_shape(self.result)
        require(0 <= axis < len(shape), f"axis {axis} is outside a weight of rank {len(shape)}")
        _require_row_major(*self.parts, self.result)
        for part in self.parts:
            found = weight_shape(part)
            same = len(found) == len(shape) and all(
                found[i] == shape[i] for i in range(len(shape)) if i != axis
            )
            require(same, f"part {list(found)} does not fit result {list(shape)}")
            same_element = _weight_type(part).element_type == _weight_type(self.result).element_type
            require(same_element, "parts and result must have one element type")
            same_encoding = _weight_type(part).encoding == _weight_type(self.result).encoding
            require(same_encoding, "parts and result must have one encoding")
        whole_groups = axis == 0 or _weight_type(self.result).encoding.is_plain
        require(whole_groups, "only rows of an integer encoding can be joined")
        total = sum(weight_shape(part)[axis] for part in self.parts)
        require(total == shape[axis], f"parts have {total} along the axis, result {shape[axis]}")


@irdl_op_definition
class InterleaveWeightsOp(SalaOp):
    """Take `group` rows of gate, then `group` rows of up, and so on; both zero padded to `group`.

    Shapes [I, K] and [I, K] give [2 * round_up(I, group), K].
    """

    name = "sala.interleave_weights"

    gate = operand_def(WeightType)
    up = operand_def(WeightType)
    group = opt_prop_def(IntegerProperty, default_value=integer(16))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($result)"

    def __init__(self, gate: SSAValue, up: SSAValue, *, group: int = 16, layer: int | None = None):
        rows, *rest = weight_shape(gate)
        shape = [2 * round_up(rows, group), *rest]
        super().__init__(
            operands=[gate, up],
            properties={"group": integer(group)},
            attributes=layer_mark(layer),
            result_types=[_weight_type(gate).with_shape(shape)],
        )

    def verify_(self) -> None:
        """Gate and up have one type; the result holds both, padded."""
        group = self.group.value.data
        require(group > 0, f"group must be positive, not {group}")
        require(self.gate.type == self.up.type, "gate and up must have one type")
        _require_row_major(self.gate, self.result)
        rows, *rest = weight_shape(self.gate)
        expected = _weight_type(self.gate).with_shape([2 * round_up(rows, group), *rest])
        require(self.result.type == expected, f"result must be {expected}")


@irdl_op_definition
class ScaleWeightOp(SalaOp):
    """Multiply a weight by a constant."""

    name = "sala.scale_weight"

    weight = operand_def(WeightType)
    factor = prop_def(FloatProperty)
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def __init__(self, weight: SSAValue, *, factor: float, layer: int | None = None):
        super().__init__(
            operands=[weight],
            properties={"factor": floating(factor)},
            attributes=layer_mark(layer),
            result_types=[weight.type],
        )

    def verify_(self) -> None:
        """Scaling keeps the type and comes before packing."""
        require(self.weight.type == self.result.type, "scale_weight must keep the type")
        _require_row_major(self.weight)


@irdl_op_definition
class CastWeightOp(SalaOp):
    """Round a weight to the element type of the result."""

    name = "sala.cast_weight"

    weight = operand_def(WeightType)
    result = result_def(WeightType)

    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def __init__(self, weight: SSAValue, element: Attribute, *, layer: int | None = None):
        super().__init__(
            operands=[weight],
            attributes=layer_mark(layer),
            result_types=[_weight_type(weight).with_element(element)],
        )

    def verify_(self) -> None:
        """A cast changes the element type only and comes before packing."""
        expected = _weight_type(self.weight).with_element(_weight_type(self.result).element_type)
        require(self.result.type == expected, "cast_weight may change the element type only")
        _require_row_major(self.weight)


@irdl_op_definition
class QuantizeWeightOp(SalaOp):
    """Round a matrix to the integers and scales of the result's encoding.

    The element type of the result is that of the values which the integers stand for.
    """

    name = "sala.quantize_weight"

    weight = operand_def(WeightType)
    result = result_def(WeightType)

    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def __init__(
        self,
        weight: SSAValue,
        encoding: EncodingAttr,
        element: Attribute,
        *,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[weight],
            attributes=layer_mark(layer),
            result_types=[_weight_type(weight).with_element(element).with_encoding(encoding)],
        )

    def verify_(self) -> None:
        """A plain row-major weight becomes integers; its shape stays."""
        source, result = _weight_type(self.weight), _weight_type(self.result)
        require(source.encoding.is_plain, "the weight is already quantised")
        require(not result.encoding.is_plain, "the result has no integer encoding")
        expected = source.with_element(result.element_type).with_encoding(result.encoding)
        require(result == expected, "quantize_weight may change element type and encoding only")
        _require_row_major(self.weight)


@irdl_op_definition
class PackWeightOp(SalaOp):
    """Rearrange a weight into the layout of the result."""

    name = "sala.pack_weight"

    weight = operand_def(WeightType)
    result = result_def(WeightType)

    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def __init__(self, weight: SSAValue, layout: LayoutAttr, *, layer: int | None = None):
        super().__init__(
            operands=[weight],
            attributes=layer_mark(layer),
            result_types=[_weight_type(weight).with_layout(layout)],
        )

    def verify_(self) -> None:
        """Packing changes the layout only, from row-major."""
        expected = _weight_type(self.weight).with_layout(_weight_type(self.result).layout)
        require(self.result.type == expected, "pack_weight may change the layout only")
        _require_row_major(self.weight)
