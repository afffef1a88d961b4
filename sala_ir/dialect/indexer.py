"""Indexers: which pools of tokens a query reads, chosen by small keys of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from xdsl.dialects.builtin import IntegerAttr, TensorType, i32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
)

from sala_compile.sala_ir.dialect.attributes import FloatProperty, IntegerProperty
from sala_compile.sala_ir.dialect.base import RowsActivation, require, require_columns
from sala_compile.sala_ir.dialect.sala_op import SalaOp
from sala_compile.sala_ir.dialect.types import DYNAMIC, BatchType, IndexerKeysType

Selection = TensorType.constr(i32)
"""Constraint of the pools that the tokens read."""


@irdl_op_definition
class SelectPoolsOp(SalaOp):
    """Write the keys of the pools that end in this step, then choose pools for every token t.

    Candidates are the (t + 1) // pool complete pools up to t, p those of `pool` tokens (of the
    cache) from p * pool on: score(t, p) = sum_h weights_th relu(scale q_th . K_p), float32;
    weights are 1 if there are none. The `count` best are chosen, all if there are fewer, of equal
    ones the first.

    q [T, H*D], weights [T, H], keys [T, D], of which row t is written if (t + 1) % pool = 0.
    selection [T, count]: ascending, then -1. Lightning indexer: DeepSeek-V3.2, arXiv 2512.02556,
    section 2.1.
    """

    name = "sala.select_pools"
    CONTINUES: ClassVar = (("cache_out", "cache"),)

    q = operand_def(RowsActivation)
    keys = operand_def(RowsActivation)
    cache = operand_def(IndexerKeysType)
    batch = operand_def(BatchType())
    weights = opt_operand_def(RowsActivation)
    heads = prop_def(IntegerProperty)
    scale = prop_def(FloatProperty)
    count = prop_def(IntegerProperty)
    selection = result_def(Selection)
    cache_out = result_def(IndexerKeysType)

    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = (
        "$q `,` $keys `,` $cache `,` $batch (`weights` $weights^)? attr-dict"
        " `:` functional-type(operands, results)"
    )

    @property
    def pool(self) -> int:
        """Tokens of a pool."""
        return indexer_keys_type(self.cache).pool.data

    def infer(self, element: Attribute) -> Sequence[Attribute]:
        """The pools of every token, and the cache."""
        return selection_type(self.count.value.data), self.cache.type

    def verify_(self) -> None:
        """Heads, keys and results agree; scores keep their order under the scale."""
        heads, count = self.heads.value.data, self.count.value.data
        columns = indexer_keys_type(self.cache).columns.data
        require(heads > 0, "heads must be positive")
        require(count > 0, "count must be positive")
        require(self.scale.value.data > 0, "scale must be positive")
        require_columns(self.q, heads * columns, "q")
        require_columns(self.keys, columns, "keys")
        if self.weights is not None:
            require_columns(self.weights, heads, "weights")
        wanted = selection_type(count)
        require(self.selection.type == wanted, "selection must be {}", wanted)


def selection_type(count: int) -> TensorType[Attribute]:
    """`tensor<?xBxi32>`: up to `count` pools for each token."""
    return TensorType(i32, [DYNAMIC, count])


def selected_pools(selection: SSAValue) -> int:
    """Pools that a token reads at most."""
    kind = selection.type
    assert isinstance(kind, TensorType), "the constraint of the operand"
    return kind.get_shape()[-1]


def indexer_keys_type(value: SSAValue) -> IndexerKeysType:
    """The type of an operand of indexer keys."""
    kind = value.type
    assert isinstance(kind, IndexerKeysType), "the constraint of the operand"
    return kind


def require_selection(
    selection: SSAValue | None, pool: IntegerAttr[Any] | None, page_tokens: int
) -> None:
    """Raise `VerifyException` unless a selection comes with its pool, which divides a page."""
    require((selection is None) == (pool is None), "selection and pool come together")
    if selection is None or pool is None:
        return
    kind, tokens = cast(TensorType[Attribute], selection.type), pool.value.data
    shape = kind.get_shape()
    fits = len(shape) == 2 and shape[0] == DYNAMIC and shape[1] > 0
    require(fits, "selection must be tensor<?xBxi32>, not {}", kind)
    divides = tokens > 0 and page_tokens % tokens == 0
    require(divides, "pools of {} tokens do not divide pages of {}", tokens, page_tokens)
