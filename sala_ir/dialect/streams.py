"""Several residual streams of a token: how a block reads them, and how it writes them."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty
from sala_compile.sala_ir.dialect.base import (
    RowsActivation,
    columns_of,
    like,
    require,
    require_columns,
    require_shape,
)
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import WeightType


@irdl_op_definition
class ConnectStreamsOp(SalaOp):
    """How a block reads and writes N streams: pre [N], post [N] and C [N, N] of every token.

    With f = logits / sqrt(mean(x^2) + norm_eps), x [T, N*H] the streams of which a linear made the
    logits [T, N*(N+2)]; base [N*(N+2)] and scale [3] the numbers of the three parts:
    pre = sigmoid(scale_0 f + base) + eps, post = 2 sigmoid(scale_1 f + base), and of C the rows are
    softmax(scale_2 f + base) + eps; then its columns are divided by their sum + eps, and after that
    `iterations` - 1 times its rows and its columns. Manifold-constrained hyper-connections:
    arXiv 2512.24880.
    """

    name = "sala.connect_streams"

    logits = operand_def(RowsActivation)
    x = operand_def(RowsActivation)
    base = operand_def(WeightType)
    scale = operand_def(WeightType)
    streams = prop_def(IntegerProperty)
    iterations = prop_def(IntegerProperty)
    eps = prop_def(FloatProperty)
    norm_eps = prop_def(FloatProperty)
    result = result_def(RowsActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$logits `,` $x `,` $base `,` $scale attr-dict `:` functional-type(operands, results)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """A number for each logit."""
        return (like(self.logits, element),)

    def verify_(self) -> None:
        """Logits, weights and result are those of so many streams."""
        streams = _require_streams(self, self.x)
        count = streams * (streams + 2)
        require_columns(self.logits, count, "logits")
        require_columns(self.result, count, "result")
        require_shape(self.base, (count,), "base")
        require_shape(self.scale, (3,), "scale")
        require(self.iterations.value.data >= 1, "iterations must be at least 1")
        positive = self.eps.value.data >= 0 and self.norm_eps.value.data >= 0
        require(positive, "eps and norm_eps must not be negative")


@irdl_op_definition
class JoinStreamsOp(SalaOp):
    """y = sum_n shares_n x_n: x [T, N*H] N streams side by side, shares [T, N]; or their mean."""

    name = "sala.join_streams"

    x = operand_def(RowsActivation)
    shares = opt_operand_def(RowsActivation)
    streams = prop_def(IntegerProperty)
    result = result_def(RowsActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$x (`shares` `(` $shares^ `:` type($shares) `)`)? attr-dict"
        " `:` type($x) `->` type($result)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The columns of one stream."""
        return (like(self.x, element, columns_of(self.x) // self.streams.value.data),)

    def verify_(self) -> None:
        """The streams divide x, and each has a share."""
        streams = _require_streams(self, self.x)
        require_columns(self.result, columns_of(self.x) // streams, "result")
        if self.shares is not None:
            require_columns(self.shares, streams, "shares")


@irdl_op_definition
class SpreadStreamsOp(SalaOp):
    """x'_m = gains_m y + sum_n mix[n, m] x_n: what a block adds to N streams, which may mix.

    y [T, H], x [T, N*H], gains [T, N], mix [T, N*N] row by row. Without `mix` x_m itself is added
    to, without `gains` they are 1, without `x` every stream is what is added.
    """

    name = "sala.spread_streams"

    y = operand_def(RowsActivation)
    x = opt_operand_def(RowsActivation)
    gains = opt_operand_def(RowsActivation)
    mix = opt_operand_def(RowsActivation)
    streams = prop_def(IntegerProperty)
    result = result_def(RowsActivation)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$y (`streams` `(` $x^ `:` type($x) `)`)? (`gains` `(` $gains^ `:` type($gains) `)`)?"
        " (`mix` `(` $mix^ `:` type($mix) `)`)? attr-dict `:` type($y) `->` type($result)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The columns of y for each stream."""
        return (like(self.y, element, self.streams.value.data * columns_of(self.y)),)

    def verify_(self) -> None:
        """Streams, gains and mix fit; only streams that there are mix."""
        streams = _require_streams(self, self.result)
        columns = streams * columns_of(self.y)
        require_columns(self.result, columns, "result")
        if self.x is not None:
            require_columns(self.x, columns, "streams")
        if self.gains is not None:
            require_columns(self.gains, streams, "gains")
        if self.mix is not None:
            require(self.x is not None, "a mix needs streams")
            require_columns(self.mix, streams**2, "mix")


def _require_streams(
    op: ConnectStreamsOp | JoinStreamsOp | SpreadStreamsOp, value: SSAValue
) -> int:
    """The streams of an op; raises `VerifyException` unless they divide the columns of a value."""
    streams, columns = op.streams.value.data, columns_of(value)
    divides = streams > 0 and columns % streams == 0
    require(divides, f"{streams} streams do not divide {columns} columns")
    return streams
