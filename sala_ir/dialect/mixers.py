"""The token mixers, each with the whole meaning of its layer kind between the projections."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, f32
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_result_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, HeadsAttr, SelectionAttr
from sala_compile.sala_ir.dialect.base import (
    Activation,
    RowsActivation,
    SameActivation,
    require,
    require_columns,
    require_shape,
)
from sala_compile.sala_ir.dialect.heads import (
    require_cache,
    require_compressed,
    require_qkv,
    require_recent,
)
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    CompressedKeysType,
    KvCacheType,
    RecentKeysType,
    RecurrentStateType,
    WeightType,
)


@irdl_op_definition
class BlockSparseAttentionOp(SalaOp):
    """InfLLM-V2 attention: append, compress, score, select, attend; dense below `dense_len`.

    q [T, H*D], k and v [T, KV*D]. A sequence whose call length is below `dense_len` attends to all
    of its past; else every query reads topk + window_blocks blocks per kv head. Blocks are chosen
    by q and k, or by `choosing_q` and `choosing_k` like them (from before the rotation), the newest
    of which `recent` keeps.
    """

    name = "sala.block_sparse_attention"
    CONTINUES: ClassVar = (("kv_out", "kv"), ("ck_out", "ck"), ("recent_out", "recent"))

    q = operand_def(SameActivation)
    k = operand_def(RowsActivation)
    v = operand_def(RowsActivation)
    kv = operand_def(KvCacheType)
    ck = operand_def(CompressedKeysType)
    batch = operand_def(BatchType())
    choosing_q = opt_operand_def(SameActivation)
    choosing_k = opt_operand_def(RowsActivation)
    recent = opt_operand_def(RecentKeysType)
    heads = prop_def(HeadsAttr)
    selection = prop_def(SelectionAttr)
    out = result_def(SameActivation)
    kv_out = result_def(KvCacheType)
    ck_out = result_def(CompressedKeysType)
    recent_out = opt_result_def(RecentKeysType)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $k `,` $v `,` $kv `,` $ck `,` $batch"
        " (`choosing_q` `(` $choosing_q^ `:` type($choosing_q) `)`)?"
        " (`choosing_k` `(` $choosing_k^ `:` type($choosing_k) `)`)?"
        " (`recent` `(` $recent^ `:` type($recent) `)`)?"
        " `heads` $heads `selection` $selection attr-dict"
        " `:` type($q) `,` type($k) `,` type($v) `,` type($kv) `,` type($ck)"
        " `->` type($out) `,` type($kv_out) `,` type($ck_out) (`,` type($recent_out)^)?"
    )

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Dense below `dense_len`, sparse from there on."""
        return self.selection.data.paths

    def verify_(self) -> None:
        """Heads, caches and selection sizes agree."""
        require_qkv(self.q, self.k, self.v, self.heads.data)
        heads = self.heads.data
        require_cache(self.kv, heads)
        require_compressed(self.ck, self.kv, self.selection.data)
        others = (self.choosing_q, self.choosing_k, self.recent, self.recent_out)
        require(others.count(None) in (0, 4), "choosing_q, choosing_k and recent come together")
        if self.choosing_k is not None and self.recent is not None:
            require_columns(self.choosing_k, heads.kv_columns, "choosing_k")
            require_recent(self.recent, self.ck)


@irdl_op_definition
class SoftmaxAttentionOp(SalaOp):
    """Dense causal attention: append, then attend to all of the past."""

    name = "sala.softmax_attention"
    CONTINUES: ClassVar = (("kv_out", "kv"),)

    q = operand_def(SameActivation)
    k = operand_def(RowsActivation)
    v = operand_def(RowsActivation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    heads = prop_def(HeadsAttr)
    out = result_def(SameActivation)
    kv_out = result_def(KvCacheType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $k `,` $v `,` $kv `,` $batch `heads` $heads"
        " attr-dict `:` functional-type(operands, results)"
    )

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Dense in every call."""
        return ((0, "dense"),)

    def verify_(self) -> None:
        """Heads and cache agree."""
        require_qkv(self.q, self.k, self.v, self.heads.data)
        require_cache(self.kv, self.heads.data)


@irdl_op_definition
class LightningAttentionOp(SalaOp):
    """S_t = exp(-slope) S_{t-1} + k_t (outer) v_t; out_t = (scale * q_t) S_t, per head.

    q [T, H*D], k and v [T, KV*D], each kv head serving H/KV heads. With q_norm and k_norm [D],
    q and k are RMS-normalised per head first; with `rope` (a table) they are then rotated.
    """

    name = "sala.lightning_attention"
    CONTINUES: ClassVar = (("state_out", "state"),)

    q = operand_def(SameActivation)
    k = operand_def(RowsActivation)
    v = operand_def(RowsActivation)
    state = operand_def(RecurrentStateType)
    batch = operand_def(BatchType())
    q_norm = opt_operand_def(WeightType)
    k_norm = opt_operand_def(WeightType)
    rope = opt_operand_def(Activation)
    heads = prop_def(HeadsAttr)
    eps = prop_def(FloatProperty)
    slopes = prop_def(DenseIntOrFPElementsAttr)
    out = result_def(SameActivation)
    state_out = result_def(RecurrentStateType)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $k `,` $v `,` $state `,` $batch"
        " (`q_norm` `(` $q_norm^ `:` type($q_norm) `)`)?"
        " (`k_norm` `(` $k_norm^ `:` type($k_norm) `)`)?"
        " (`rope` `(` $rope^ `:` type($rope) `)`)? `heads` $heads attr-dict"
        " `:` type($q) `,` type($k) `,` type($v) `,` type($state)"
        " `->` type($out) `,` type($state_out)"
    )

    def verify_(self) -> None:
        """Heads, state, slopes and the fused operands agree."""
        heads = self.heads.data
        require_qkv(self.q, self.k, self.v, heads)
        state, size = self.state.type, heads.head_dim
        assert isinstance(state, RecurrentStateType)
        require(state.sizes == (heads.num_heads, size, size), "{} does not fit the heads", state)
        require(self.slopes.get_element_type() == f32, "slopes must be f32")
        fits = self.slopes.get_shape() == (heads.num_heads,)
        require(fits, f"there must be {heads.num_heads} slopes")
        self._verify_fused(size)

    def _verify_fused(self, head_dim: int) -> None:
        both = (self.q_norm is None) == (self.k_norm is None)
        require(both, "q_norm and k_norm come together")
        for name, weight in (("q_norm", self.q_norm), ("k_norm", self.k_norm)):
            if weight is not None:
                require_shape(weight, (head_dim,), name)
        if self.rope is not None:
            require_columns(self.rope, head_dim, "rope")
