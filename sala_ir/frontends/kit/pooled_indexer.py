"""Indexers that choose pools of tokens by keys that a softmax makes of each pool's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.runtime.common.json_text import is_list
from sala_compile.sala_ir.dialect import (
    IndexerKeysType,
    LayerNormOp,
    OpenPoolType,
    PoolTokensOp,
    SelectPoolsOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS
from sala_compile.sala_ir.frontends.kit.step import StepWriter

FULL, SHARED = "full", "shared"
"""Kinds of indexers: one of the layer, or that of the layer before."""
KEY_NORM_EPS = 1e-6
"""Of the norms of keys, whatever the config says."""
GATE, PLACES = "index_kpool_compress_gate", "index_kpool_compress_ape"
"""Tensors of the weights of a pool's tokens: a matrix, and what is added at each place."""


@dataclass(frozen=True, slots=True)
class PooledIndexer:
    """`heads` of `size` columns choose `count` pools of `pool` tokens; tensors begin with `prefix`.

    A pool of one token has the key of that token.
    """

    heads: int
    size: int
    pool: int
    count: int
    prefix: str = "self_attn.indexer."

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        keys = IndexerKeysType(self.pool, self.size, PAGE_TOKENS, f32)
        if self.pool == 1:
            return {"indexer_keys": keys}
        return {"indexer_keys": keys, "open_pool": OpenPoolType(self.pool - 1, 2 * self.size, f32)}

    def emit(self, step: StepWriter, batch: SSAValue, x: SSAValue, latent: SSAValue) -> SSAValue:
        """The pools of every token, from normalised rows and the latents of their queries."""
        heads, size, prefix = self.heads, self.size, self.prefix
        role = WeightRole.BLOCK_SELECTION
        q = step.linear(latent, f"{prefix}wq_b", heads * size, role=role, hint="index_q")
        name, factor = f"{prefix}weights_proj", heads**-0.5
        weights = step.linear(x, name, heads, role=role, scale=factor, hint="head_weights")
        keys = step.linear(x, f"{prefix}wk", size, role=role, hint="index_k")
        place = f"{step.prefix}{prefix}"
        norm = LayerNormOp(
            keys,
            *(step.weight(f"{place}k_norm.{name}", (size,)) for name in ("weight", "bias")),
            eps=KEY_NORM_EPS,
            layer=step.layer,
        )
        keys = step.emit(norm, "index_k")
        if self.pool > 1:
            keys = self._pools(step, batch, x, keys)
        op = SelectPoolsOp(
            *(q, keys, step.state("indexer_keys"), batch, weights),
            heads=heads,
            scale=size**-0.5,
            count=self.count,
            layer=step.layer,
        )
        step.update(indexer_keys=op.cache_out)
        return step.emit(op, "pools", "indexer_keys")

    def _pools(self, step: StepWriter, batch: SSAValue, x: SSAValue, keys: SSAValue) -> SSAValue:
        """The keys of pools, in the rows of their last tokens."""
        place, role = f"{step.prefix}{self.prefix}", WeightRole.BLOCK_SELECTION
        matrix = step.weight(place + GATE, (self.size, columns_of(x)), role)
        op = PoolTokensOp(
            keys,
            step.state("open_pool"),
            batch,
            step.product(x, matrix, "pool_gate"),
            step.weight(place + PLACES, (self.pool, self.size)),
            pool=self.pool,
            layer=step.layer,
        )
        step.update(open_pool=op.state_out)
        return step.emit(op, "pool_keys", "open_pool")


def indexer_kinds(fields: Mapping[str, Any], layers: int) -> tuple[Any, ...]:
    """Kinds of indexers from a pattern, or from how often there is a full one."""
    pattern = fields.get("index_topk_pattern")
    if isinstance(pattern, str):
        return tuple({"F": FULL, "S": SHARED}.get(letter, letter) for letter in pattern)
    if is_list(pattern):
        return tuple(pattern)
    every, first = fields.get("index_topk_freq", 1), fields.get("index_skip_topk_offset", 2)
    if type(every) is not int or type(first) is not int:
        return (FULL,) * layers
    kinds = (max(layer - first + 1, 0) % max(every, 1) for layer in range(layers))
    return tuple(SHARED if turn else FULL for turn in kinds)
