"""The token mixers, each with the whole meaning of its layer kind between the projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import (
    DenseIntOrFPElementsAttr,
    f32,
)
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

from sala_compile.sala_ir.dialect.attributes import (
    FloatProperty,
    IntegerProperty,
    dense_f32,
    floating,
    integer,
)
from sala_compile.sala_ir.dialect.base import (
    Activation,
    SalaOp,
    columns_of,
    layer_mark,
    require,
    require_columns,
    require_shape,
)
from sala_compile.sala_ir.dialect.heads import (
    compressed_type,
    require_cache,
    require_compressed,
    require_qkv,
    require_selection,
    selection_paths,
)
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    CompressedKeysType,
    KvCacheType,
    RecurrentStateType,
    WeightType,
    activation_type,
)


@irdl_op_definition
class BlockSparseAttentionOp(SalaOp):
    """InfLLM-V2 attention: append, compress, score, select, attend; dense below `dense_len`.

    q [T, H*D], k and v [T, KV*D]. A sequence whose call length is below `dense_len` attends to all
    of its past; else every query reads topk + window_blocks blocks per kv head.
    """

    name = "sala.block_sparse_attention"
    CONTINUES: ClassVar = (("kv_out", "kv"), ("ck_out", "ck"))

    q = operand_def(Activation)
    k = operand_def(Activation)
    v = operand_def(Activation)
    kv = operand_def(KvCacheType)
    ck = operand_def(CompressedKeysType)
    batch = operand_def(BatchType())
    num_heads = prop_def(IntegerProperty)
    kv_heads = prop_def(IntegerProperty)
    head_dim = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    kernel_size = prop_def(IntegerProperty)
    kernel_stride = prop_def(IntegerProperty)
    block_size = prop_def(IntegerProperty)
    init_blocks = prop_def(IntegerProperty)
    window_blocks = prop_def(IntegerProperty)
    topk = prop_def(IntegerProperty)
    dense_len = prop_def(IntegerProperty)
    out = result_def(Activation)
    kv_out = result_def(KvCacheType)
    ck_out = result_def(CompressedKeysType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $k `,` $v `,` $kv `,` $ck `,` $batch attr-dict"
        " `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        q: SSAValue,
        k: SSAValue,
        v: SSAValue,
        kv: SSAValue,
        ck: SSAValue,
        batch: SSAValue,
        *,
        num_heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float,
        kernel_size: int,
        kernel_stride: int,
        block_size: int,
        init_blocks: int,
        window_blocks: int,
        topk: int,
        dense_len: int,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[q, k, v, kv, ck, batch],
            properties={
                "num_heads": integer(num_heads),
                "kv_heads": integer(kv_heads),
                "head_dim": integer(head_dim),
                "scale": floating(scale),
                "kernel_size": integer(kernel_size),
                "kernel_stride": integer(kernel_stride),
                "block_size": integer(block_size),
                "init_blocks": integer(init_blocks),
                "window_blocks": integer(window_blocks),
                "topk": integer(topk),
                "dense_len": integer(dense_len),
            },
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(q), element), kv.type, ck.type],
        )

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Dense below `dense_len`, sparse from there on."""
        return selection_paths(self.parameters["dense_len"])

    def verify_(self) -> None:
        """Heads, caches and selection sizes agree."""
        heads, kv_heads = self.num_heads.value.data, self.kv_heads.value.data
        head_dim = self.head_dim.value.data
        require_qkv(self.q, self.k, self.v, num_heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        require_columns(self.out, heads * head_dim, "out")
        require_cache(self.kv, kv_heads=kv_heads, head_dim=head_dim)
        require_compressed(self.kv, self.ck)
        keys = compressed_type(self.ck)
        sizes = (keys.kernel_size.data, keys.kernel_stride.data, keys.block_size.data)
        declared = tuple(
            size.value.data for size in (self.kernel_size, self.kernel_stride, self.block_size)
        )
        require(sizes == declared, f"{keys} has other sizes than {declared}")
        require_selection(
            init_blocks=self.init_blocks.value.data,
            window_blocks=self.window_blocks.value.data,
            topk=self.topk.value.data,
            dense_len=self.dense_len.value.data,
        )


@irdl_op_definition
class SoftmaxAttentionOp(SalaOp):
    """Dense causal attention: append, then attend to all of the past."""

    name = "sala.softmax_attention"
    CONTINUES: ClassVar = (("kv_out", "kv"),)

    q = operand_def(Activation)
    k = operand_def(Activation)
    v = operand_def(Activation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    num_heads = prop_def(IntegerProperty)
    kv_heads = prop_def(IntegerProperty)
    head_dim = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    out = result_def(Activation)
    kv_out = result_def(KvCacheType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $k `,` $v `,` $kv `,` $batch attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        q: SSAValue,
        k: SSAValue,
        v: SSAValue,
        kv: SSAValue,
        batch: SSAValue,
        *,
        num_heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[q, k, v, kv, batch],
            properties={
                "num_heads": integer(num_heads),
                "kv_heads": integer(kv_heads),
                "head_dim": integer(head_dim),
                "scale": floating(scale),
            },
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(q), element), kv.type],
        )

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Dense in every call."""
        return ((0, "dense"),)

    def verify_(self) -> None:
        """Heads and cache agree."""
        heads, kv_heads = self.num_heads.value.data, self.kv_heads.value.data
        head_dim = self.head_dim.value.data
        require_qkv(self.q, self.k, self.v, num_heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        require_columns(self.out, heads * head_dim, "out")
        require_cache(self.kv, kv_heads=kv_heads, head_dim=head_dim)


@irdl_op_definition
class LightningAttentionOp(SalaOp):
    """S_t = exp(-slope) S_{t-1} + k_t (outer) v_t; out_t = (scale * q_t) S_t, per head.

    q [T, H*D], k and v [T, KV*D], each kv head serving H/KV heads. With q_norm and k_norm [D],
    q and k are RMS-normalised per head first; with `rope` (a table) they are then rotated.
    """

    name = "sala.lightning_attention"
    CONTINUES: ClassVar = (("state_out", "state"),)

    q = operand_def(Activation)
    k = operand_def(Activation)
    v = operand_def(Activation)
    state = operand_def(RecurrentStateType)
    batch = operand_def(BatchType())
    q_norm = opt_operand_def(WeightType)
    k_norm = opt_operand_def(WeightType)
    rope = opt_operand_def(Activation)
    num_heads = prop_def(IntegerProperty)
    kv_heads = prop_def(IntegerProperty)
    head_dim = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    eps = prop_def(FloatProperty)
    slopes = prop_def(DenseIntOrFPElementsAttr)
    out = result_def(Activation)
    state_out = result_def(RecurrentStateType)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $k `,` $v `,` $state `,` $batch"
        " (`q_norm` `(` $q_norm^ `:` type($q_norm) `)`)?"
        " (`k_norm` `(` $k_norm^ `:` type($k_norm) `)`)?"
        " (`rope` `(` $rope^ `:` type($rope) `)`)? attr-dict"
        " `:` type($q) `,` type($k) `,` type($v) `,` type($state)"
        " `->` type($out) `,` type($state_out)"
    )

    def __init__(
        self,
        q: SSAValue,
        k: SSAValue,
        v: SSAValue,
        state: SSAValue,
        batch: SSAValue,
        *,
        num_heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float,
        eps: float,
        slopes: Sequence[float] | DenseIntOrFPElementsAttr,
        q_norm: SSAValue | None = None,
        k_norm: SSAValue | None = None,
        rope: SSAValue | None = None,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        optional = [[] if value is None else [value] for value in (q_norm, k_norm, rope)]
        if not isinstance(slopes, DenseIntOrFPElementsAttr):
            slopes = dense_f32(slopes)
        super().__init__(
            operands=[q, k, v, state, batch, *optional],
            properties={
                "num_heads": integer(num_heads),
                "kv_heads": integer(kv_heads),
                "head_dim": integer(head_dim),
                "scale": floating(scale),
                "eps": floating(eps),
                "slopes": slopes,
            },
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(q), element), state.type],
        )

    def verify_(self) -> None:
        """Heads, state, slopes and the fused operands agree."""
        heads, kv_heads = self.num_heads.value.data, self.kv_heads.value.data
        head_dim = self.head_dim.value.data
        require_qkv(self.q, self.k, self.v, num_heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        require_columns(self.out, heads * head_dim, "out")
        state = self.state.type
        assert isinstance(state, RecurrentStateType)
        require(state.sizes == (heads, head_dim, head_dim), f"{state} does not fit the heads")
        require(self.slopes.get_element_type() == f32, "slopes must be f32")
        require(self.slopes.get_shape() == (heads,), f"there must be {heads} slopes")
        self._verify_fused(head_dim)

    def _verify_fused(self, head_dim: int) -> None:
        both = (self.q_norm is None) == (self.k_norm is None)
        require(both, "q_norm and k_norm come together")
        for name, weight in (("q_norm", self.q_norm), ("k_norm", self.k_norm)):
            if weight is not None:
                require_shape(weight, (head_dim,), name)
        if self.rope is not None:
            require_columns(self.rope, head_dim, "rope")
