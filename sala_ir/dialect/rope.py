"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, TensorType, f32
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
    RowsActivation,
    SameActivation,
    columns_of,
    require,
    require_shape,
)
from sala_compile.sala_ir.dialect.plain import dense_i64, floating, integer, plain
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import BatchType, WeightType, activation_type


@irdl_op_definition
class RopeTableOp(SalaOp):
    """Per new token [cos(R/2) | sin(R/2)] of position * frequency, times `factor`, in float32.

    Positions are those of the tokens plus `position_offset`, which is not above 0.
    With a `log_offset` above 0 the factor is `factor` * ln(position + log_offset); frequencies of 0
    scale without rotation.
    frequencies [P, R/2]: float32, one row for each of P ranges of call lengths. Row p is for a
    sequence whose call length is at least starts[p] and below starts[p + 1]; starts[0] is 0.
    """

    name = "sala.rope_table"

    batch = operand_def(BatchType())
    frequencies = prop_def(DenseIntOrFPElementsAttr)
    factor = prop_def(FloatProperty, default_value=floating(1.0))
    starts = prop_def(DenseIntOrFPElementsAttr, default_value=dense_i64([0]))
    log_offset = prop_def(FloatProperty, default_value=floating(0.0))
    position_offset = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(Activation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$batch attr-dict `->` type($result)"

    def __init__(
        self,
        batch: SSAValue,
        *,
        frequencies: Sequence[float],
        factor: float = 1.0,
        starts: Sequence[int] = (0,),
        log_offset: float = 0.0,
        position_offset: int = 0,
    ):
        shape = TensorType(f32, [len(starts), len(frequencies) // len(starts)])
        super().__init__(
            batch,
            frequencies=DenseIntOrFPElementsAttr.from_list(shape, list(frequencies)),
            factor=factor,
            starts=dense_i64(starts),
            log_offset=log_offset,
            position_offset=position_offset,
        )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """Cosines and sines, always float32."""
        return (activation_type(2 * self.frequencies.get_shape()[1], f32),)

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Which frequencies are taken, if that depends on the call length."""
        starts = plain(self.starts)
        names = ("short-rope", *(f"long-rope-{start}" for start in starts[1:]))
        return tuple(zip(starts, names, strict=True)) if len(starts) > 1 else ()

    def verify_(self) -> None:
        """Rows of frequencies, ascending starts, and an f32 table of their width."""
        kind, frequencies = self.frequencies.type, plain(self.frequencies)
        require(
            isinstance(kind, TensorType) and kind.get_num_dims() == 2,
            "frequencies must be tensor<PxHxf32>",
        )
        require(kind.get_element_type() == f32, "frequencies must be f32")
        require(all(value >= 0 for value in frequencies), "frequencies must not be negative")
        rows, half = kind.get_shape()
        starts = plain(self.starts)
        require(rows == len(starts), f"{rows} rows of frequencies need as many starts")
        ascending = starts[:1] == (0,) and all(a < b for a, b in pairwise(starts))
        require(ascending, f"starts must ascend from 0, not {list(starts)}")
        require(self.factor.value.data > 0, "factor must be positive")
        offset = self.log_offset.value.data
        require(offset == 0 or offset > 1, f"log_offset must be 0 or above 1, not {offset}")
        moved = self.position_offset.value.data
        require(moved <= 0, f"position_offset must not be above 0, not {moved}")
        require(moved == 0 or offset == 0, "position_offset and log_offset exclude each other")
        expected = activation_type(2 * half, f32)
        require(self.result.type == expected, "result must be {}", expected)


@irdl_op_definition
class RopeOp(SalaOp):
    """Rotate R dimensions of every head of x from `start` on, i together with i + R/2.

    R is the width of the table; the other dimensions of a head stay as they are. `interleaved` (1)
    takes the pairs of neighbours 2i and 2i + 1, and writes them to i and i + R/2. With `norm`
    [head_dim], every head is RMS-normalised first, with `eps`.
    """

    name = "sala.rope"

    x = operand_def(SameActivation)
    table = operand_def(RowsActivation)
    norm = opt_operand_def(WeightType)
    head_dim = prop_def(IntegerProperty)
    eps = opt_prop_def(FloatProperty)
    start = opt_prop_def(IntegerProperty, default_value=integer(0))
    interleaved = opt_prop_def(IntegerProperty, default_value=integer(0))
    result = result_def(SameActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$x `,` $table (`norm` `(` $norm^ `:` type($norm) `)`)? attr-dict"
        " `:` type($x) `,` type($table) `->` type($result)"
    )

    def verify_(self) -> None:
        """Heads divide the columns and the table is not wider than a head."""
        head_dim, columns = self.head_dim.value.data, columns_of(self.x)
        rotated = columns_of(self.table)
        require(head_dim > 0, f"head_dim must be positive, not {head_dim}")
        require(columns % head_dim == 0, f"head_dim {head_dim} does not divide {columns} columns")
        require(rotated % 2 == 0, f"table must have an even number of columns, not {rotated}")
        require(0 < rotated <= head_dim, f"table must have 2 to {head_dim} columns, not {rotated}")
        start = self.start.value.data
        inside = 0 <= start <= head_dim - rotated
        require(inside, f"dimensions {start} .. {start + rotated} lie outside 0 .. {head_dim}")
        require(self.interleaved.value.data in (0, 1), "interleaved must be 0 or 1")
        require((self.norm is None) == (self.eps is None), "norm and eps come together")
        if self.norm is not None:
            require_shape(self.norm, (head_dim,), "norm")
