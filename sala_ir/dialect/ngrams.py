"""Embeddings of n-grams of token ids by hashing, and how streams take them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar

from xdsl.dialects.builtin import DenseIntOrFPElementsAttr
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty, Rows
from sala_compile.sala_ir.dialect.base import (
    Activation,
    Ids,
    RowsActivation,
    SameActivation,
    columns_of,
    like,
    require,
    require_columns,
    require_rows,
    weight_shape,
)
from sala_compile.sala_ir.dialect.plain import dense_i64, floating, plain
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    TokenWindowType,
    WeightType,
    activation_type,
)

MOST_ROWS = 2**31
"""Rows of a table: their numbers fit int32."""


@irdl_op_definition
class NgramEmbeddingOp(SalaOp):
    """Rows of a table for the n-grams that end with each token, orders 2 to n, side by side.

    x_j is the id j tokens back, or `end` if there are fewer tokens, or one of those 1 to j back is
    `end`: segments end with it. The n-gram of order o is x_0 m_0 ^ x_1 m_1 ^ .. ^ x_(o-1) m_(o-1),
    products of int64 that wrap around, of n `multipliers` m. `sizes` has as many for every order:
    head h reads row offset_h + (n-gram mod size_h), the remainder not negative, offset_h the sum of
    the sizes before. table [R, C]; out [T, heads * C]; `window` has the last n - 1 ids.
    """

    name = "sala.ngram_embedding"
    CONTINUES: ClassVar = (("window_out", "window"),)

    tokens = operand_def(Ids)
    table = operand_def(WeightType)
    window = operand_def(TokenWindowType)
    batch = operand_def(BatchType())
    multipliers = prop_def(DenseIntOrFPElementsAttr)
    sizes = prop_def(DenseIntOrFPElementsAttr)
    end = prop_def(IntegerProperty)
    out = result_def(Activation)
    window_out = result_def(TokenWindowType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$tokens `,` $table `,` $window `,` $batch attr-dict `:` type($table) `,` type($window)"
        " `->` type($out) `,` type($window_out)"
    )

    def __init__(
        self,
        tokens: SSAValue,
        table: SSAValue,
        window: SSAValue,
        batch: SSAValue,
        *,
        multipliers: Sequence[int],
        sizes: Sequence[int],
        end: int,
        layer: int | None = None,
    ):
        super().__init__(
            tokens,
            table,
            window,
            batch,
            multipliers=dense_i64(multipliers),
            sizes=dense_i64(sizes),
            end=end,
            layer=layer,
        )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The columns of the table for every head."""
        columns = len(plain(self.sizes)) * weight_shape(self.table)[1]
        return activation_type(columns, element), self.window.type

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first row of every head."""
        return tuple(accumulate(plain(self.sizes)[:-1], initial=0))

    def verify_(self) -> None:
        """Table, window and result are those of the heads."""
        multipliers, sizes = plain(self.multipliers), plain(self.sizes)
        order, shape = len(multipliers), weight_shape(self.table)
        require(order >= 2, f"there must be at least 2 multipliers, not {order}")
        equal = len(sizes) > 0 and len(sizes) % (order - 1) == 0
        require(equal, f"{len(sizes)} sizes are not as many for each of {order - 1} orders")
        require(min(sizes) > 0, "sizes must be positive")
        require(len(shape) == 2, f"table must be a matrix, not {list(shape)}")
        fits = sum(sizes) <= shape[0] < MOST_ROWS
        require(fits, f"{sum(sizes)} rows do not fit a table of {shape[0]}, at most {MOST_ROWS}")
        require_columns(self.out, len(sizes) * shape[1], "out")
        require_rows(self.out, Rows.TOKENS, "out")
        window = self.window.type
        assert isinstance(window, TokenWindowType)
        require(window.sizes == (order - 1,), "{} does not fit the multipliers", window)


@irdl_op_definition
class ScoreStreamsOp(SalaOp):
    """y_n = sign(s_n) sqrt(max(|s_n|, least)), s_n = scale * key_n . query_n of every stream n.

    key and query [T, N*H], N streams side by side; y [T, N].
    """

    name = "sala.score_streams"

    key = operand_def(SameActivation)
    query = operand_def(SameActivation)
    streams = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    least = opt_prop_def(FloatProperty, default_value=floating(0.0))
    result = result_def(RowsActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$key `,` $query attr-dict `:` type($key) `,` type($query) `->` type($result)"

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """A number for every stream."""
        return (like(self.key, element, self.streams.value.data),)

    def verify_(self) -> None:
        """The streams divide the columns, and each has a number."""
        streams, columns = self.streams.value.data, columns_of(self.key)
        divides = streams > 0 and columns % streams == 0
        require(divides, f"{streams} streams do not divide {columns} columns")
        require_columns(self.result, streams, "result")
        require(self.least.value.data >= 0, "least must not be negative")
