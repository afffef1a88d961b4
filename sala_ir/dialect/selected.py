"""Attention of grouped queries to the pools of tokens that an indexer has chosen."""

from __future__ import annotations

from typing import ClassVar, cast

from xdsl.dialects.builtin import TensorType
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

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect.attributes import HeadsAttr, IntegerProperty
from sala_compile.sala_ir.dialect.base import (
    RowsActivation,
    SameActivation,
    require,
    require_columns,
)
from sala_compile.sala_ir.dialect.heads import kv_type, require_cache, require_qkv
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.stages import IdTensor
from sala_compile.sala_ir.dialect.types import BatchType, KvCacheType


@irdl_op_definition
class SelectedAttentionOp(SalaOp):
    """Append, then causal softmax attention of token t to chosen pools and to those after the last.

    q [T, H*D], k and v [T, KV*D]. Pool p are the tokens p * `pool` to p * pool + pool - 1; row t of
    `selection` [T, C] has pools that end by t, ascending, then -1, for all heads. Read are their
    tokens and those of the pool that is not yet complete, from (t + 1) // pool * pool to t: none
    where t ends a pool.
    """

    name = "sala.selected_attention"
    CONTINUES: ClassVar = (("kv_out", "kv"),)

    q = operand_def(SameActivation)
    k = operand_def(RowsActivation)
    v = operand_def(RowsActivation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    selection = operand_def(IdTensor)
    heads = prop_def(HeadsAttr)
    pool = prop_def(IntegerProperty)
    out = result_def(SameActivation)
    kv_out = result_def(KvCacheType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $k `,` $v `,` $kv `,` $batch `,` $selection `heads` $heads"
        " attr-dict `:` functional-type(operands, results)"
    )

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Sparse in every call."""
        return ((0, "sparse"),)

    def verify_(self) -> None:
        """Heads, cache and pools agree."""
        require_qkv(self.q, self.k, self.v, self.heads.data)
        _require_pools(self.kv, self.selection, self.heads.data, self.pool.value.data)


@irdl_op_definition
class AttendPoolsOp(SalaOp):
    """The attention of `SelectedAttentionOp`, to a cache that has the new tokens already.

    With `gate` [T, H*D], the result is multiplied by sigmoid(gate).
    """

    name = "sala.attend_pools"

    q = operand_def(SameActivation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    selection = operand_def(IdTensor)
    gate = opt_operand_def(SameActivation)
    heads = prop_def(HeadsAttr)
    pool = prop_def(IntegerProperty)
    out = result_def(SameActivation)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $kv `,` $batch `,` $selection (`gate` `(` $gate^ `:` type($gate) `)`)?"
        " `heads` $heads attr-dict `:` type($q) `,` type($kv) `,` type($selection) `->` type($out)"
    )

    @property
    def count(self) -> int:
        """Pools that a token reads at most, besides the one that is not complete."""
        return selection_columns(self.selection)

    def verify_(self) -> None:
        """Heads, cache and pools agree."""
        require_columns(self.q, self.heads.data.columns, "q")
        _require_pools(self.kv, self.selection, self.heads.data, self.pool.value.data)


def selection_columns(selection: SSAValue) -> int:
    """The columns of a selection `tensor<?xCxi32>`."""
    kind = cast(TensorType[Attribute], selection.type)
    shape = kind.get_shape()
    fits = len(shape) == 2 and shape[1] > 0
    require(fits, "selection must be tensor<?xCxi32>, not {}", kind)
    return shape[1]


def _require_pools(kv: SSAValue, selection: SSAValue, heads: Heads, pool: int) -> None:
    """Raise `VerifyException` unless pages of unrounded tokens are whole pools."""
    require_cache(kv, heads)
    selection_columns(selection)
    kind = kv_type(kv)
    require(kind.rounding is None, "the pages of a selection are not rounded")
    page = kind.page_tokens.data
    fits = pool > 0 and page % pool == 0
    require(fits, "pages of {} tokens are no whole pools of {}", page, pool)
