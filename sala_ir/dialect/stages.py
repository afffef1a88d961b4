"""The stages of a sparse layer, into which `open-attention` opens the mixers."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import TensorType, f32, i32
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
)
from sala_compile.sala_ir.dialect.heads import (
    compressed_type,
    kv_type,
    require_cache,
    require_compressed,
    require_heads,
    require_selection,
)
from sala_compile.sala_ir.dialect.types import (
    DYNAMIC,
    BatchType,
    CompressedKeysType,
    KvCacheType,
    activation_type,
)

IdTensor = TensorType.constr(i32)
"""Constraint of block indices and counts."""


def counts_type(kv_heads: int) -> TensorType:
    """`tensor<?xKVxi32>`: one count for each token and kv head."""
    return TensorType(i32, [DYNAMIC, kv_heads])


def blocks_type(kv_heads: int, budget: int) -> TensorType:
    """`tensor<?xKVxBxi32>`: up to `budget` block indices for each token and kv head."""
    return TensorType(i32, [DYNAMIC, kv_heads, budget])


@irdl_op_definition
class AppendKvOp(SalaOp):
    """Write the keys and values [T, KV*D] of the new tokens into their pages."""

    name = "sala.append_kv"
    CONTINUES: ClassVar = (("kv_out", "kv"),)

    k = operand_def(Activation)
    v = operand_def(Activation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    kv_out = result_def(KvCacheType)

    assembly_format = (
        "$k `,` $v `,` $kv `,` $batch attr-dict `:` functional-type(operands, results)"
    )

    def __init__(
        self,
        k: SSAValue,
        v: SSAValue,
        kv: SSAValue,
        batch: SSAValue,
        *,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[k, v, kv, batch], attributes=layer_mark(layer), result_types=[kv.type]
        )

    def verify_(self) -> None:
        """Keys and values have the columns of the cache."""
        cache = kv_type(self.kv)
        for name, value in (("k", self.k), ("v", self.v)):
            require_columns(value, cache.kv_heads.data * cache.head_dim.data, name)


@irdl_op_definition
class CompressKeysOp(SalaOp):
    """Write the means of the windows that the new tokens complete, at both levels."""

    name = "sala.compress_keys"
    CONTINUES: ClassVar = (("ck_out", "ck"),)

    kv = operand_def(KvCacheType)
    ck = operand_def(CompressedKeysType)
    batch = operand_def(BatchType())
    ck_out = result_def(CompressedKeysType)

    assembly_format = "$kv `,` $ck `,` $batch attr-dict `:` functional-type(operands, results)"

    def __init__(self, kv: SSAValue, ck: SSAValue, batch: SSAValue, *, layer: int | None = None):
        super().__init__(
            operands=[kv, ck, batch], attributes=layer_mark(layer), result_types=[ck.type]
        )

    def verify_(self) -> None:
        """The compressed keys are those of the cache."""
        require_compressed(self.kv, self.ck)


@irdl_op_definition
class SelectBlocksOp(SalaOp):
    """Score the compressed keys and choose blocks for each new token and kv head.

    blocks [T, KV, topk + window_blocks] ascending; counts [T, KV], -1 where the sequence is dense
    (call length below `dense_len`): then all blocks up to the own one.
    """

    name = "sala.select_blocks"

    q = operand_def(Activation)
    ck = operand_def(CompressedKeysType)
    batch = operand_def(BatchType())
    num_heads = prop_def(IntegerProperty)
    kv_heads = prop_def(IntegerProperty)
    head_dim = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    init_blocks = prop_def(IntegerProperty)
    window_blocks = prop_def(IntegerProperty)
    topk = prop_def(IntegerProperty)
    dense_len = prop_def(IntegerProperty)
    block_size = prop_def(IntegerProperty)
    blocks = result_def(IdTensor)
    counts = result_def(IdTensor)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$q `,` $ck `,` $batch attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        q: SSAValue,
        ck: SSAValue,
        batch: SSAValue,
        *,
        num_heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float,
        init_blocks: int,
        window_blocks: int,
        topk: int,
        dense_len: int,
        block_size: int,
        layer: int | None = None,
    ):
        super().__init__(
            operands=[q, ck, batch],
            properties={
                "num_heads": integer(num_heads),
                "kv_heads": integer(kv_heads),
                "head_dim": integer(head_dim),
                "scale": floating(scale),
                "init_blocks": integer(init_blocks),
                "window_blocks": integer(window_blocks),
                "topk": integer(topk),
                "dense_len": integer(dense_len),
                "block_size": integer(block_size),
            },
            attributes=layer_mark(layer),
            result_types=[blocks_type(kv_heads, topk + window_blocks), counts_type(kv_heads)],
        )

    @property
    def budget(self) -> int:
        """Blocks that a query reads at most: topk + window_blocks."""
        return self.topk.value.data + self.window_blocks.value.data

    def verify_(self) -> None:
        """Heads, compressed keys, budget and results agree."""
        kv_heads, head_dim = self.kv_heads.value.data, self.head_dim.value.data
        require_heads(self.num_heads.value.data, kv_heads, head_dim)
        require_columns(self.q, self.num_heads.value.data * head_dim, "q")
        keys = compressed_type(self.ck)
        sizes = (keys.kv_heads.data, keys.block_size.data, keys.head_dim.data)
        declared = (kv_heads, self.block_size.value.data, head_dim)
        require(sizes == declared, f"{keys} has other sizes than {declared}")
        require_selection(
            init_blocks=self.init_blocks.value.data,
            window_blocks=self.window_blocks.value.data,
            topk=self.topk.value.data,
            dense_len=self.dense_len.value.data,
        )
        blocks, counts = blocks_type(kv_heads, self.budget), counts_type(kv_heads)
        require(self.blocks.type == blocks, f"blocks must be {blocks}")
        require(self.counts.type == counts, f"counts must be {counts}")


@irdl_op_definition
class AttendBlocksOp(SalaOp):
    """Causal softmax attention over the chosen blocks; over all of the past without blocks.

    With `gate`, the result is multiplied by sigmoid(gate). `blocks_read` [T, KV] counts the pages
    that were visited.
    """

    name = "sala.attend_blocks"

    q = operand_def(Activation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    blocks = opt_operand_def(IdTensor)
    counts = opt_operand_def(IdTensor)
    gate = opt_operand_def(Activation)
    num_heads = prop_def(IntegerProperty)
    kv_heads = prop_def(IntegerProperty)
    head_dim = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    out = result_def(Activation)
    blocks_read = result_def(IdTensor)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $kv `,` $batch"
        " (`blocks` `(` $blocks^ `:` type($blocks) `)`)?"
        " (`counts` `(` $counts^ `:` type($counts) `)`)?"
        " (`gate` `(` $gate^ `:` type($gate) `)`)? attr-dict"
        " `:` type($q) `,` type($kv) `->` type($out) `,` type($blocks_read)"
    )

    def __init__(
        self,
        q: SSAValue,
        kv: SSAValue,
        batch: SSAValue,
        *,
        num_heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float,
        blocks: SSAValue | None = None,
        counts: SSAValue | None = None,
        gate: SSAValue | None = None,
        element: Attribute = f32,
        layer: int | None = None,
    ):
        optional = [[] if value is None else [value] for value in (blocks, counts, gate)]
        super().__init__(
            operands=[q, kv, batch, *optional],
            properties={
                "num_heads": integer(num_heads),
                "kv_heads": integer(kv_heads),
                "head_dim": integer(head_dim),
                "scale": floating(scale),
            },
            attributes=layer_mark(layer),
            result_types=[activation_type(columns_of(q), element), counts_type(kv_heads)],
        )

    def verify_(self) -> None:
        """Heads, cache, selection and gate agree."""
        heads, kv_heads = self.num_heads.value.data, self.kv_heads.value.data
        head_dim = self.head_dim.value.data
        require_heads(heads, kv_heads, head_dim)
        for name, value in (("q", self.q), ("out", self.out), ("gate", self.gate)):
            if value is not None:
                require_columns(value, heads * head_dim, name)
        require_cache(self.kv, kv_heads=kv_heads, head_dim=head_dim)
        require((self.blocks is None) == (self.counts is None), "blocks and counts come together")
        counts = counts_type(kv_heads)
        require(self.blocks_read.type == counts, f"blocks_read must be {counts}")
        if self.counts is not None:
            require(self.counts.type == counts, f"counts must be {counts}")
        if self.blocks is not None:
            self._verify_blocks(self.blocks.type, kv_heads)

    @staticmethod
    def _verify_blocks(found: Attribute, kv_heads: int) -> None:
        assert isinstance(found, TensorType)
        shape = found.get_shape()
        fits = len(shape) == 3 and shape[1] == kv_heads and shape[2] > 0
        require(fits, f"blocks must be tensor<?x{kv_heads}xBxi32>, not {found}")
