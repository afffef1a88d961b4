"""The stages of a sparse layer, into which `open-attention` opens the mixers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from xdsl.dialects.builtin import TensorType, i32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    VarConstraint,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.attention_sizes import dense_block
from sala_compile.sala_ir.dialect.attributes import HeadsAttr, IntegerProperty, SelectionAttr
from sala_compile.sala_ir.dialect.base import (
    Activation,
    RowsActivation,
    SameActivation,
    like,
    require,
    require_columns,
)
from sala_compile.sala_ir.dialect.heads import (
    compressed_type,
    kv_type,
    recent_keys_type,
    require_cache,
    require_compressed,
    require_kv_columns,
    require_recent,
)
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.state_parts import StatePart
from sala_compile.sala_ir.dialect.types import (
    DYNAMIC,
    BatchType,
    CompressedKeysType,
    KvCacheType,
    RecentKeysType,
)

IdTensor = TensorType.constr(i32)
"""Constraint of block indices."""

Counts = VarConstraint("counts", IdTensor)
"""Constraint of counts for each token and kv head."""


def counts_type(kv_heads: int) -> TensorType[Attribute]:
    """`tensor<?xKVxi32>`: one count for each token and kv head."""
    return TensorType(i32, [DYNAMIC, kv_heads])


def blocks_type(kv_heads: int, budget: int) -> TensorType[Attribute]:
    """`tensor<?xKVxBxi32>`: up to `budget` block indices for each token and kv head."""
    return TensorType(i32, [DYNAMIC, kv_heads, budget])


class _NewTokensOp(SalaOp):
    """Base of what brings new tokens into a cache, whose full pages are rounded or not."""

    CONTINUES: ClassVar = (("kv_out", "kv"),)
    ROUNDED: ClassVar[bool] = True

    k = operand_def(SameActivation)
    v = operand_def(SameActivation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    kv_out = result_def(KvCacheType)

    assembly_format = (
        "$k `,` $v `,` $kv `,` $batch attr-dict `:` functional-type(operands, results)"
    )

    def verify_(self) -> None:
        """Keys and values have the columns of the cache, and its pages are of the op's kind."""
        require_kv_columns(self.k, self.kv)
        if self.ROUNDED:
            require(kv_type(self.kv).rounding is not None, "no pages are rounded: sala.append_kv")
        else:
            require(kv_type(self.kv).rounding is None, "pages are rounded: sala.round_pages")


@irdl_op_definition
class AppendKvOp(_NewTokensOp):
    """Write the keys and values [T, KV*D] of the new tokens into their pages."""

    name = "sala.append_kv"
    ROUNDED: ClassVar[bool] = False


@irdl_op_definition
class RoundPagesOp(_NewTokensOp):
    """Write the pages that the new tokens complete, rounded; the recent tokens stay as they are."""

    name = "sala.round_pages"

    def writes(self, part: StatePart) -> bool:
        """The pages alone."""
        return part.slots is None


@irdl_op_definition
class KeepRecentOp(_NewTokensOp):
    """Keep the newest of the new tokens [T, KV*D] unrounded, in place of older ones."""

    name = "sala.keep_recent"

    def writes(self, part: StatePart) -> bool:
        """The recent tokens alone."""
        return part.slots is not None


@irdl_op_definition
class CompressKeysOp(SalaOp):
    """Write the means of the windows that the new tokens complete, at both levels.

    Means are of unrounded keys: of a cache whose full pages are rounded, the recent ones from
    before the step, and the new ones `k` [T, KV*D].
    """

    name = "sala.compress_keys"
    CONTINUES: ClassVar = (("ck_out", "ck"),)

    kv = operand_def(KvCacheType)
    ck = operand_def(CompressedKeysType)
    batch = operand_def(BatchType())
    k = opt_operand_def(Activation)
    ck_out = result_def(CompressedKeysType)

    assembly_format = (
        "$kv `,` $ck `,` $batch (`,` $k^)? attr-dict `:` functional-type(operands, results)"
    )

    def verify_(self) -> None:
        """The compressed keys are those of the cache; its recent keys are those of a window."""
        require_compressed(self.ck, self.kv, None)
        rounding = kv_type(self.kv).rounding
        require((self.k is None) == (rounding is None), "k is there where pages are rounded")
        if self.k is not None and rounding is not None:
            require_kv_columns(self.k, self.kv)
            window = recent_keys_type(compressed_type(self.ck)).tokens.data
            require(rounding.recent >= window, "a window has {} keys", window)


@irdl_op_definition
class CompressNewKeysOp(SalaOp):
    """Write the means of the windows that the new tokens complete, of keys that no cache holds.

    k [T, KV*D]. `recent` has the keys of the tokens before, as many as a coarse window has.
    """

    name = "sala.compress_new_keys"
    CONTINUES: ClassVar = (("recent_out", "recent"), ("ck_out", "ck"))

    k = operand_def(Activation)
    recent = operand_def(RecentKeysType)
    ck = operand_def(CompressedKeysType)
    batch = operand_def(BatchType())
    recent_out = result_def(RecentKeysType)
    ck_out = result_def(CompressedKeysType)

    assembly_format = (
        "$k `,` $recent `,` $ck `,` $batch attr-dict `:` functional-type(operands, results)"
    )

    def verify_(self) -> None:
        """Keys, recent keys and compressed keys agree."""
        require_recent(self.recent, self.ck)
        keys = compressed_type(self.ck)
        require_columns(self.k, keys.kv_heads.data * keys.head_dim.data, "k")


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
    heads = prop_def(HeadsAttr)
    selection = prop_def(SelectionAttr)
    blocks = result_def(IdTensor)
    counts = result_def(IdTensor)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $ck `,` $batch `heads` $heads `selection` $selection"
        " attr-dict `:` functional-type(operands, results)"
    )

    @property
    def paths(self) -> tuple[tuple[int, str], ...]:
        """Dense below `dense_len`, sparse from there on."""
        return self.selection.data.paths

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """Lists of the budget, and their counts."""
        kv_heads = self.heads.data.kv_heads
        return blocks_type(kv_heads, self.selection.data.budget), counts_type(kv_heads)

    def verify_(self) -> None:
        """Heads, compressed keys, budget and results agree."""
        heads, keys = self.heads.data, compressed_type(self.ck)
        require_columns(self.q, heads.columns, "q")
        same = (keys.kv_heads.data, keys.head_dim.data) == (heads.kv_heads, heads.head_dim)
        require(same, "{} does not hold {} heads of {}", keys, heads.kv_heads, heads.head_dim)
        require_compressed(self.ck, None, self.selection.data)
        blocks, counts = self.infer(i32)
        require(self.blocks.type == blocks, "blocks must be {}", blocks)
        require(self.counts.type == counts, "counts must be {}", counts)


@irdl_op_definition
class AttendBlocksOp(SalaOp):
    """Causal softmax attention over the chosen blocks; over all of the past without blocks.

    The blocks of the lists have `block_size` tokens. With `gate`, the result is multiplied by
    sigmoid(gate). `blocks_read` [T, KV] counts the blocks that were visited; without lists, the
    parts of pages. Where full pages are rounded, a query reads its own page from the recent tokens
    and the new ones `k` and `v` [T, KV*D].
    """

    name = "sala.attend_blocks"

    q = operand_def(SameActivation)
    kv = operand_def(KvCacheType)
    batch = operand_def(BatchType())
    blocks = opt_operand_def(IdTensor)
    counts = opt_operand_def(Counts)
    gate = opt_operand_def(SameActivation)
    k = opt_operand_def(RowsActivation)
    v = opt_operand_def(RowsActivation)
    heads = prop_def(HeadsAttr)
    block_size = opt_prop_def(IntegerProperty)
    out = result_def(SameActivation)
    blocks_read = result_def(Counts)

    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())
    assembly_format = (
        "$q `,` $kv `,` $batch"
        " (`blocks` `(` $blocks^ `:` type($blocks) `)`)?"
        " (`counts` `(` $counts^ `:` type($counts) `)`)?"
        " (`gate` `(` $gate^ `:` type($gate) `)`)?"
        " (`k` `(` $k^ `:` type($k) `)`)? (`v` `(` $v^ `:` type($v) `)`)?"
        " `heads` $heads attr-dict"
        " `:` type($q) `,` type($kv) `->` type($out) `,` type($blocks_read)"
    )

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """An output like q, and the counts."""
        return like(self.q, element), counts_type(self.heads.data.kv_heads)

    @property
    def block(self) -> int:
        """Tokens that are taken at a time: a block of the lists, or a part of a page."""
        if self.block_size is not None:
            return self.block_size.value.data
        return dense_block(kv_type(self.kv).page_tokens.data)

    def verify_(self) -> None:
        """Heads, cache and selection agree."""
        heads, page = self.heads.data, kv_type(self.kv).page_tokens.data
        require(page % self.block == 0, "pages of {} tokens have no blocks of {}", page, self.block)
        require_columns(self.q, heads.columns, "q")
        require_cache(self.kv, heads)
        lists = (self.blocks, self.counts, self.block_size)
        require(lists.count(None) in (0, 3), "blocks, counts and block_size come together")
        unread = 0 if kv_type(self.kv).rounding is not None else 2
        require((self.k, self.v).count(None) == unread, "k and v are there where pages are rounded")
        for new in (self.k, self.v):
            if new is not None:
                require_kv_columns(new, self.kv)
        counts = counts_type(heads.kv_heads)
        require(self.blocks_read.type == counts, "blocks_read must be {}", counts)
        if self.blocks is not None:
            self._verify_blocks(self.blocks, heads.kv_heads)

    @staticmethod
    def _verify_blocks(blocks: SSAValue, kv_heads: int) -> None:
        assert isinstance(blocks.type, TensorType), "the constraint of the operand"
        shape = blocks.type.get_shape()
        fits = len(shape) == 3 and shape[1] == kv_heads and shape[2] > 0
        require(
            fits,
            "blocks must be tensor<?x{}xBxi32>, not {}",
            kv_heads,
            cast(Attribute, blocks.type),
        )
