"""Weight-side ops: evaluated tensor by tensor at compile time, while the checkpoint streams by."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import SymbolNameConstraint, f32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    BaseAttr,
    ParsePropInAttrDict,
    VarConstraint,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    var_operand_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty
from sala_compile.sala_ir.dialect.base import (
    require,
    weight_shape,
    weight_type,
)
from sala_compile.sala_ir.dialect.plain import integer
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import WeightType
from sala_compile.sala_ir.dialect.weight_role import WeightRole, WeightRoleAttr
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr, LayoutAttr, LayoutKind

SameWeight = VarConstraint("weight", BaseAttr(WeightType))
"""Constraint of the weights of an op that have one type."""
EXPERT_ROWS = 64
"""The rows of every expert of a stack are a multiple of this: an expert begins at a panel."""
EXPERTS = ".experts."
"""After this the number of an expert stands in the name of its tensor."""


def _require_row_major(*values: SSAValue) -> None:
    kinds = (weight_type(value).layout.kind.data for value in values)
    require(all(kind is LayoutKind.ROW_MAJOR for kind in kinds), "weight is already packed")


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


@irdl_op_definition
class WeightOp(SalaOp):
    """A tensor of the checkpoint, by its name there, and what it is for.

    With `experts` it is a stack of so many tensors [expert_rows, K], one below the other, each
    padded with zero rows to a multiple of 64; `@x.experts.w` are `x.experts.0.w` and so on.
    """

    name = "sala.weight"

    tensor_name = prop_def(SymbolNameConstraint())
    role = prop_def(WeightRoleAttr, default_value=WeightRoleAttr(WeightRole.PROJECTION))
    experts = opt_prop_def(IntegerProperty, default_value=integer(0))
    expert_rows = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$tensor_name attr-dict `:` type($result)"

    def __init__(
        self,
        tensor_name: str,
        result_type: WeightType,
        *,
        role: WeightRole = WeightRole.PROJECTION,
        experts: int = 0,
        expert_rows: int = 0,
        layer: int | None = None,
    ):
        super().__init__(
            tensor_name=tensor_name,
            role=role,
            experts=experts,
            expert_rows=expert_rows,
            result_types=[result_type],
            layer=layer,
        )

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The tensors of the checkpoint that it consists of, with their shapes."""
        name, shape = self.tensor_name.data, weight_shape(self.result)
        count = self.experts.value.data
        if not count:
            return {name: shape}
        head, _, tail = name.rpartition(EXPERTS)
        own = (self.expert_rows.value.data, *shape[1:])
        return {f"{head}{EXPERTS}{number}.{tail}": own for number in range(count)}

    def verify_(self) -> None:
        """A stack has a name for every expert and as many rows as all of them."""
        count, rows = self.experts.value.data, self.expert_rows.value.data
        if not count and not rows:
            return
        require(count > 0 and rows > 0, "experts and expert_rows come together")
        shape, name = weight_shape(self.result), self.tensor_name.data
        require(EXPERTS in name, f"the name of a stack has {EXPERTS} in it, {name} has not")
        expected = count * round_up(rows, EXPERT_ROWS)
        fits = len(shape) == 2 and shape[0] == expected
        require(
            fits,
            f"{count} experts of {rows} rows are {expected} rows of a matrix, not {list(shape)}",
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

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The sizes of the parts added up along the axis."""
        axis, shape = self.axis.value.data, list(weight_shape(self.parts[0]))
        shape[axis] = sum(weight_shape(part)[axis] for part in self.parts)
        return (weight_type(self.parts[0]).with_shape(shape),)

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
            same_element = weight_type(part).element_type == weight_type(self.result).element_type
            require(same_element, "parts and result must have one element type")
            same_encoding = weight_type(part).encoding == weight_type(self.result).encoding
            require(same_encoding, "parts and result must have one encoding")
        whole_groups = axis == 0 or weight_type(self.result).encoding.is_plain
        require(whole_groups, "only rows of an integer encoding can be joined")
        total = sum(weight_shape(part)[axis] for part in self.parts)
        require(total == shape[axis], f"parts have {total} along the axis, result {shape[axis]}")


@irdl_op_definition
class InterleaveWeightsOp(SalaOp):
    """Take `group` rows of gate, then `group` rows of up, and so on; both zero padded to `group`.

    Shapes [I, K] and [I, K] give [2 * round_up(I, group), K].
    """

    name = "sala.interleave_weights"

    gate = operand_def(SameWeight)
    up = operand_def(SameWeight)
    group = opt_prop_def(IntegerProperty, default_value=integer(16))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The rows of both, padded to whole groups."""
        rows, *rest = weight_shape(self.gate)
        rows = 2 * round_up(rows, self.group.value.data)
        return (weight_type(self.gate).with_shape([rows, *rest]),)

    def verify_(self) -> None:
        """The result holds both, padded."""
        group = self.group.value.data
        require(group > 0, f"group must be positive, not {group}")
        _require_row_major(self.gate, self.result)
        (expected,) = self.infer(f32)
        require(self.result.type == expected, "result must be {}", expected)


@irdl_op_definition
class SliceWeightOp(SalaOp):
    """Rows start .. start + size - 1 of a weight, or of every `period` rows of it."""

    name = "sala.slice_weight"

    weight = operand_def(WeightType)
    start = prop_def(IntegerProperty)
    size = prop_def(IntegerProperty)
    period = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """So many rows, of each period."""
        kind, period = weight_type(self.weight), self.period.value.data
        rows, *rest = kind.get_shape()
        turns = rows // period if period > 0 else 1
        return (kind.with_shape([turns * self.size.value.data, *rest]),)

    def verify_(self) -> None:
        """The rows lie inside the weight, or inside each of whole periods."""
        start, size = self.start.value.data, self.size.value.data
        rows, period = weight_shape(self.weight)[0], self.period.value.data
        whole = period >= 0 and (not period or rows % period == 0)
        require(whole, f"{rows} rows are no whole periods of {period}")
        rows = period or rows
        inside = start >= 0 and size > 0 and start + size <= rows
        require(inside, f"rows {start} .. {start + size} lie outside 0 .. {rows}")
        _require_row_major(self.weight)
        (expected,) = self.infer(f32)
        require(self.result.type == expected, "result must be {}", expected)


@irdl_op_definition
class ScaleWeightOp(SalaOp):
    """Multiply a weight by a constant."""

    name = "sala.scale_weight"

    weight = operand_def(SameWeight)
    factor = prop_def(FloatProperty)
    result = result_def(SameWeight)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The type of the weight."""
        return (self.weight.type,)

    def verify_(self) -> None:
        """Scaling comes before packing."""
        _require_row_major(self.weight)


@irdl_op_definition
class OffsetWeightOp(SalaOp):
    """Add a constant to a weight: norms whose weights are stored less 1."""

    name = "sala.offset_weight"

    weight = operand_def(SameWeight)
    offset = prop_def(FloatProperty)
    result = result_def(SameWeight)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The type of the weight."""
        return (self.weight.type,)

    def verify_(self) -> None:
        """Values as they are, before packing."""
        require(weight_type(self.weight).encoding.is_plain, "nothing is added to integers")
        _require_row_major(self.weight)


@irdl_op_definition
class TransposeWeightOp(SalaOp):
    """Columns as rows: [N, K] gives [K, N]. For small weights: it is read whole."""

    name = "sala.transpose_weight"

    weight = operand_def(WeightType)
    result = result_def(WeightType)

    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The sizes, exchanged."""
        kind = weight_type(self.weight)
        return (kind.with_shape(kind.get_shape()[::-1]),)

    def verify_(self) -> None:
        """A plain matrix in rows, and the same in columns."""
        kind = weight_type(self.weight)
        require(len(kind.get_shape()) == 2, "only a matrix is transposed")
        require(kind.encoding.is_plain, "integers are not transposed")
        _require_row_major(self.weight)
        (expected,) = self.infer(f32)
        require(self.result.type == expected, "result must be {}", expected)


@irdl_op_definition
class HeadRowsOp(SalaOp):
    """Rows start .. start + size - 1 of each of `heads` equal blocks of rows, one after the other.

    [heads * N, K] gives [heads * size, K]; `transposed`, with the rows of every head as columns,
    [heads * K, size]. The weight is read whole.
    """

    name = "sala.head_rows"

    weight = operand_def(WeightType)
    heads = prop_def(IntegerProperty)
    start = prop_def(IntegerProperty)
    size = prop_def(IntegerProperty)
    transposed = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(WeightType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The rows of all heads, or their columns."""
        kind, heads, size = weight_type(self.weight), self.heads.value.data, self.size.value.data
        columns = kind.get_shape()[1]
        is_transposed = self.transposed.value.data == 1
        shape = [heads * columns, size] if is_transposed else [heads * size, columns]
        return (kind.with_shape(shape),)

    def verify_(self) -> None:
        """A plain matrix whose rows the heads divide, and rows inside of a head's."""
        kind, heads = weight_type(self.weight), self.heads.value.data
        require(len(kind.get_shape()) == 2, "heads are of a matrix")
        require(kind.encoding.is_plain, "integers are not divided by heads")
        require(self.transposed.value.data in (0, 1), "transposed must be 0 or 1")
        rows = kind.get_shape()[0]
        require(heads > 0 and rows % heads == 0, f"{heads} heads do not divide {rows} rows")
        start, size, block = self.start.value.data, self.size.value.data, rows // heads
        inside = start >= 0 and size > 0 and start + size <= block
        require(inside, f"rows {start} .. {start + size} lie outside 0 .. {block}")
        _require_row_major(self.weight)
        (expected,) = self.infer(f32)
        require(self.result.type == expected, "result must be {}", expected)


@irdl_op_definition
class CastWeightOp(SalaOp):
    """Round a weight to the element type of the result."""

    name = "sala.cast_weight"

    weight = operand_def(WeightType)
    result = result_def(WeightType)

    assembly_format = "$weight attr-dict `:` type($weight) `->` type($result)"

    def __init__(self, weight: SSAValue, element: Attribute, *, layer: int | None = None):
        result = weight_type(weight).with_element(element)
        super().__init__(weight, result_types=[result], layer=layer)

    def verify_(self) -> None:
        """A cast changes the element type only and comes before packing."""
        expected = weight_type(self.weight).with_element(weight_type(self.result).element_type)
        require(self.result.type == expected, "cast_weight may change the element type only")
        _require_row_major(self.weight)


@irdl_op_definition
class QuantizeWeightOp(SalaOp):
    """Round a matrix to the integers and scales of the result's encoding.

    The element type of the result is that of the values which the integers represent.
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
        result = weight_type(weight).with_element(element).with_encoding(encoding)
        super().__init__(weight, result_types=[result], layer=layer)

    def verify_(self) -> None:
        """A plain row-major weight becomes integers; its shape stays."""
        source, result = weight_type(self.weight), weight_type(self.result)
        require(source.encoding.is_plain, "the weight is already quantised")
        require(not result.encoding.is_plain, "the result has no integer encoding")
        is_read = result.encoding.has_minima or result.encoding.super_block.data
        require(not is_read, "integers with minima or super-blocks are read, never rounded to")
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
        result = weight_type(weight).with_layout(layout)
        super().__init__(weight, result_types=[result], layer=layer)

    def verify_(self) -> None:
        """Packing changes the layout only, from row-major."""
        expected = weight_type(self.weight).with_layout(weight_type(self.result).layout)
        require(self.result.type == expected, "pack_weight may change the layout only")
        _require_row_major(self.weight)
