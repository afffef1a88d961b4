"""Mixers of a fixed-size state that learn what to forget, and the convolutions before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.ir import Attribute
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.attention_sizes import NO_LIMIT
from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty, StateHeadsAttr
from sala_compile.sala_ir.dialect.base import (
    RowsActivation,
    SameActivation,
    columns_of,
    like,
    require,
    require_columns,
    require_shape,
    weight_shape,
)
from sala_compile.sala_ir.dialect.plain import floating, integer
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    ConvolutionWindowType,
    RecurrentStateType,
    WeightType,
)


@irdl_op_definition
class ShortConvolutionOp(SalaOp):
    """y_t = silu(bias + sum_j weight[j] * x_(t - D (K - 1 - j))), column by column; K taps.

    x [T, C], weight [K, C], the last tap that of the token itself, bias [C]; taps are `dilation` D
    tokens apart. x is 0 before the first token; `window` keeps what the next step needs of the last
    D (K - 1) tokens.
    """

    name = "sala.short_convolution"
    CONTINUES: ClassVar = (("window_out", "window"),)

    x = operand_def(SameActivation)
    window = operand_def(ConvolutionWindowType)
    batch = operand_def(BatchType())
    weight = operand_def(WeightType)
    bias = opt_operand_def(WeightType)
    dilation = opt_prop_def(IntegerProperty, default_value=integer(1))
    out = result_def(SameActivation)
    window_out = result_def(ConvolutionWindowType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$x `,` $window `,` $batch `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict"
        " `:` type($x) `,` type($window) `,` type($weight) `->` type($out) `,` type($window_out)"
    )

    def verify_(self) -> None:
        """At least two taps for every column; the window is that of the others."""
        shape, columns = weight_shape(self.weight), columns_of(self.x)
        require(len(shape) == 2 and shape[0] >= 2, f"weight must be [taps, columns], not {shape}")
        require(shape[1] == columns, f"weight must have {columns} columns, not {shape[1]}")
        if self.bias is not None:
            require_shape(self.bias, (columns,), "bias")
        window = self.window.type
        assert isinstance(window, ConvolutionWindowType)
        dilation = self.dilation.value.data
        require(dilation >= 1, f"dilation must be at least 1, not {dilation}")
        fits = window.sizes == (dilation * (shape[0] - 1), columns)
        require(fits, "{} does not fit the weight", window)


@irdl_op_definition
class StateSpaceOp(SalaOp):
    """S <- a S + k (s v)^T; out = S^T (scale q) + skip v, per head and token.

    q and k [T, KH*K], v [T, H*V]; s = clip(softplus(decay + decay_bias), least, most) and
    a = exp(-exp(decay_rate) * s), of decay [T, H]; decay_rate, decay_bias and skip [H]. Key head
    h / (H/KH) is that of head h. In the words of Mamba-2 (Dao and Gu, arXiv 2405.21060) q, k, v and
    decay are C, B, x and dt; decay_rate is A_log, skip D.
    """

    name = "sala.state_space"
    CONTINUES: ClassVar = (("state_out", "state"),)

    q = operand_def(RowsActivation)
    k = operand_def(RowsActivation)
    v = operand_def(SameActivation)
    decay = operand_def(RowsActivation)
    state = operand_def(RecurrentStateType)
    batch = operand_def(BatchType())
    decay_rate = operand_def(WeightType)
    decay_bias = operand_def(WeightType)
    skip = operand_def(WeightType)
    heads = prop_def(StateHeadsAttr)
    least = opt_prop_def(FloatProperty, default_value=floating(0.0))
    most = opt_prop_def(FloatProperty, default_value=floating(NO_LIMIT))
    out = result_def(SameActivation)
    state_out = result_def(RecurrentStateType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $k `,` $v `,` $decay `,` $state `,` $batch `,` $decay_rate `,` $decay_bias `,`"
        " $skip `heads` $heads attr-dict `:` functional-type(operands, results)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The output is like the values."""
        return like(self.v, element), self.state.type

    def verify_(self) -> None:
        """Heads, state, limits and the weights of every head agree."""
        limits = (self.least.value.data, self.most.value.data)
        require(0 <= limits[0] <= limits[1], "least and most must be 0 <= least <= most")
        _require_heads(self, 1)
        require_shape(self.skip, (self.heads.data.num_heads,), "skip")


@irdl_op_definition
class GatedDeltaOp(SalaOp):
    """S <- a S; u = b (v - S^T k); S <- S + k u^T; out = S^T (scale q), per head and token.

    q and k [T, KH*K], of unit length per head after x / sqrt(sum x^2 + eps); v [T, H*V];
    a = exp(-exp(decay_rate) * softplus(decay + decay_bias)) and b = rate_scale * sigmoid(rate), of
    decay and rate [T, H], decay_rate and decay_bias [H]. Key head h / (H/KH) is that of head h.

    Or a is a vector, a number for each row of S: decay [T, H*K], decay_bias [H*K]. With a
    `lower_bound` below 0 it is exp(lower_bound * sigmoid(exp(decay_rate) (decay + decay_bias))).

    Gated delta rule: Yang, Kautz and Hatamizadeh, arXiv 2412.06464, equation 10; with vectors Kimi
    delta attention: arXiv 2510.26692, equation 1.
    """

    name = "sala.gated_delta"
    CONTINUES: ClassVar = (("state_out", "state"),)

    q = operand_def(RowsActivation)
    k = operand_def(RowsActivation)
    v = operand_def(SameActivation)
    decay = operand_def(RowsActivation)
    rate = operand_def(RowsActivation)
    state = operand_def(RecurrentStateType)
    batch = operand_def(BatchType())
    decay_rate = operand_def(WeightType)
    decay_bias = operand_def(WeightType)
    heads = prop_def(StateHeadsAttr)
    eps = prop_def(FloatProperty)
    rate_scale = opt_prop_def(FloatProperty, default_value=floating(1.0))
    lower_bound = opt_prop_def(FloatProperty, default_value=floating(0.0))
    out = result_def(SameActivation)
    state_out = result_def(RecurrentStateType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $k `,` $v `,` $decay `,` $rate `,` $state `,` $batch `,` $decay_rate `,`"
        " $decay_bias `heads` $heads attr-dict `:` functional-type(operands, results)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The output is like the values."""
        return like(self.v, element), self.state.type

    @property
    def has_channel_decay(self) -> bool:
        """Whether every row of a state has a decay of its own."""
        return columns_of(self.decay) != self.heads.data.num_heads

    def verify_(self) -> None:
        """Heads, state and the weights of the decay agree."""
        bound = self.lower_bound.value.data
        require(bound <= 0, f"lower_bound must not be above 0, not {bound}")
        _require_heads(self, self.heads.data.key_dim if self.has_channel_decay else 1)
        require_columns(self.rate, self.heads.data.num_heads, "rate")


def _require_heads(op: GatedDeltaOp | StateSpaceOp, decays: int) -> None:
    """Raise `VerifyException` unless operands and state fit heads of so many decays each."""
    heads, count = op.heads.data, op.heads.data.num_heads
    for name, value in (("q", op.q), ("k", op.k)):
        require_columns(value, heads.key_columns, name)
    require_columns(op.v, heads.value_columns, "v")
    require_columns(op.decay, count * decays, "decay")
    require_shape(op.decay_rate, (count,), "decay_rate")
    require_shape(op.decay_bias, (count * decays,), "decay_bias")
    state = op.state.type
    assert isinstance(state, RecurrentStateType)
    fits = state.sizes == (count, heads.key_dim, heads.value_dim)
    require(fits, "{} does not fit the heads", state)
