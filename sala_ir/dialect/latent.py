"""Latent attention: all heads read one short row of a token, which is all that is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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

from sala_compile.sala_ir.attention_sizes import LatentHeads, dense_block
from sala_compile.sala_ir.dialect.attributes import IntegerProperty, LatentHeadsAttr
from sala_compile.sala_ir.dialect.base import (
    RowsActivation,
    columns_of,
    like,
    require,
    require_columns,
    require_shape,
    weight_shape,
)
from sala_compile.sala_ir.dialect.indexer import Selection, require_selection
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import BatchType, LatentCacheType, WeightType


@irdl_op_definition
class LatentAttentionOp(SalaOp):
    """Append latent and rotary part, then causal attention to the past, per head h:

    scores = scale (q_h^a . (K_h c_s) + q_h^r . r_s), out_h = sum_s softmax(scores)_s V_h c_s.

    q [T, H*(K+R)], for each head q^a [K] and q^r [R]; latent c [T, C]; rotary r [T, R], one for all
    heads, absent if R is 0; key_weight [H*K, C], K_h by K_h; value_weight [H*C, V], V_h transposed.
    out [T, H*V].
    With a `selection` [T, B] of pools of `pool` tokens (`SelectPoolsOp`), token t attends to those
    of its row and to the tail, s >= (t + 1) // pool * pool; -1 is no pool.
    Multi-head latent attention: DeepSeek-V2, arXiv 2405.04434, equations 9 to 19.
    """

    name = "sala.latent_attention"
    CONTINUES: ClassVar = (("cache_out", "cache"),)

    q = operand_def(RowsActivation)
    latent = operand_def(RowsActivation)
    rotary = opt_operand_def(RowsActivation)
    cache = operand_def(LatentCacheType)
    batch = operand_def(BatchType())
    key_weight = operand_def(WeightType)
    value_weight = operand_def(WeightType)
    selection = opt_operand_def(Selection)
    heads = prop_def(LatentHeadsAttr)
    pool = opt_prop_def(IntegerProperty)
    out = result_def(RowsActivation)
    cache_out = result_def(LatentCacheType)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $latent (`rotary` `(` $rotary^ `:` type($rotary) `)`)? `,` $cache `,` $batch"
        " `,` $key_weight `,` $value_weight"
        " (`selection` `(` $selection^ `:` type($selection) `)`)? `heads` $heads attr-dict"
        " `:` type($q) `,` type($latent) `,` type($cache) `,` type($key_weight)"
        " `,` type($value_weight) `->` type($out) `,` type($cache_out)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """Values of all heads, and the cache."""
        heads = self.heads.data
        return like(self.q, element, heads.num_heads * heads.value_dim), self.cache.type

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """The same in every call."""
        return ((0, "dense"),)

    def verify_(self) -> None:
        """Heads, cache, weights and selection agree."""
        heads = self.heads.data
        require_selection(self.selection, self.pool, latent_type(self.cache).page_tokens.data)
        _require_new(self.q, self.latent, self.rotary, self.cache, heads)
        require_columns(self.out, heads.num_heads * heads.value_dim, "out")
        keys = (heads.num_heads * heads.key_dim, heads.latent_dim)
        require_shape(self.key_weight, keys, "key_weight")
        values = (heads.num_heads * heads.latent_dim, heads.value_dim)
        require_shape(self.value_weight, values, "value_weight")


@irdl_op_definition
class HeadLinearOp(SalaOp):
    """y_h = x_h W_h of every head h: x [T, H*P], W [H*A, B] the W_h [A, B] by each other.

    The first A of the P columns of a head are read; y [T, H*B].
    """

    name = "sala.head_linear"

    x = operand_def(RowsActivation)
    weight = operand_def(WeightType)
    num_heads = prop_def(IntegerProperty)
    result = result_def(RowsActivation)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x `,` $weight attr-dict `:` type($x) `,` type($weight) `->` type($result)"

    @property
    def input_dim(self) -> int:
        """Columns of a head of x that are read: A."""
        return weight_shape(self.weight)[0] // self.num_heads.value.data

    @property
    def head_pitch(self) -> int:
        """Columns from one head of x to the next: P."""
        return columns_of(self.x) // self.num_heads.value.data

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The columns of the weight for every head."""
        return (like(self.x, element, self.num_heads.value.data * weight_shape(self.weight)[1]),)

    def verify_(self) -> None:
        """The heads divide x and the rows of the weight, and no head reads another's columns."""
        heads, shape = self.num_heads.value.data, weight_shape(self.weight)
        require(len(shape) == 2, "weight must be a matrix")
        columns = columns_of(self.x)
        divides = heads > 0 and columns % heads == 0 and shape[0] % heads == 0
        require(divides, f"{heads} heads do not divide {columns} columns and {shape[0]} rows")
        require(self.input_dim <= self.head_pitch, "a head of x has too few columns")
        require_columns(self.result, heads * shape[1], "result")


@irdl_op_definition
class AttendLatentsOp(SalaOp):
    """Append latent and rotary part, then attend: out_h = sum_s softmax(scores)_s c_s.

    scores = scale (absorbed_h . c_s + q_h^r . r_s), absorbed [T, H*C], out [T, H*C]; the rest is
    that of `LatentAttentionOp`, of which this is the part between its two weights.
    """

    name = "sala.attend_latents"
    CONTINUES: ClassVar = (("cache_out", "cache"),)

    absorbed = operand_def(RowsActivation)
    q = operand_def(RowsActivation)
    latent = operand_def(RowsActivation)
    rotary = opt_operand_def(RowsActivation)
    cache = operand_def(LatentCacheType)
    batch = operand_def(BatchType())
    selection = opt_operand_def(Selection)
    heads = prop_def(LatentHeadsAttr)
    pool = opt_prop_def(IntegerProperty)
    out = result_def(RowsActivation)
    cache_out = result_def(LatentCacheType)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$absorbed `,` $q `,` $latent (`rotary` `(` $rotary^ `:` type($rotary) `)`)? `,` $cache"
        " `,` $batch (`selection` `(` $selection^ `:` type($selection) `)`)? `heads` $heads"
        " attr-dict `:` type($absorbed) `,` type($q) `,` type($latent) `,` type($cache)"
        " `->` type($out) `,` type($cache_out)"
    )

    @property
    def block(self) -> int:
        """Tokens that are taken at a time: a page, or a part of it."""
        return dense_block(latent_type(self.cache).page_tokens.data)

    def verify_(self) -> None:
        """Heads, cache and selection agree."""
        heads = self.heads.data
        require_selection(self.selection, self.pool, latent_type(self.cache).page_tokens.data)
        _require_new(self.q, self.latent, self.rotary, self.cache, heads)
        for name, value in (("absorbed", self.absorbed), ("out", self.out)):
            require_columns(value, heads.num_heads * heads.latent_dim, name)


def latent_type(value: SSAValue) -> LatentCacheType:
    """The type of a latent cache operand."""
    kind = value.type
    assert isinstance(kind, LatentCacheType), "the constraint of the operand"
    return kind


def _require_new(
    q: SSAValue, latent: SSAValue, rotary: SSAValue | None, cache: SSAValue, heads: LatentHeads
) -> None:
    """Raise `VerifyException` unless queries, new rows and the cache fit the heads."""
    require_columns(q, heads.num_heads * heads.query_dim, "q")
    require_columns(latent, heads.latent_dim, "latent")
    require((rotary is None) == (heads.rotary_dim == 0), "rotary is absent if rotary_dim is 0")
    if rotary is not None:
        require_columns(rotary, heads.rotary_dim, "rotary")
    kind = latent_type(cache)
    fits = kind.sizes[1:] == (heads.latent_dim, heads.rotary_dim)
    require(fits, "{} does not fit the heads", kind)
