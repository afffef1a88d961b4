"""Indexers that choose single tokens by keys of their own, a part of which is rotated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import IndexerKeysType, LayerNormOp, SelectPoolsOp, WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS
from sala_compile.sala_ir.frontends.kit.step import StepWriter

KEYS = "indexer_keys"
"""The kind of the state of a layer with an indexer."""
KEY_NORM_EPS = 1e-6
"""Of the norm of keys, whatever the config says."""


@dataclass(frozen=True, slots=True)
class TokenIndexer:
    """Parameters of the indexers of a model: `heads` of `size` columns choose `count` tokens.

    Tensors begin with `prefix`. The first columns of queries and keys are rotated, by halves or
    `interleaved`.
    """

    heads: int
    size: int
    count: int
    interleaved: bool
    prefix: str = "self_attn.indexer."

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        return {KEYS: IndexerKeysType(1, self.size, PAGE_TOKENS, f32)}

    def emit(
        self, step: StepWriter, batch: SSAValue, x: SSAValue, low: SSAValue, table: SSAValue
    ) -> SSAValue:
        """The tokens that each token reads, by normalised rows and the latents of queries."""
        heads, size, layer = self.heads, self.size, step.layer
        role, pair = WeightRole.BLOCK_SELECTION, {"interleaved": self.interleaved}
        q = step.linear(low, f"{self.prefix}wq_b", heads * size, role=role, hint="indexer_q")
        keys = step.linear(x, f"{self.prefix}wk", size, role=role, hint="indexer_k")
        norm = f"{step.prefix}{self.prefix}k_norm"
        affine = (step.weight(f"{norm}.{part}", (size,)) for part in ("weight", "bias"))
        op = LayerNormOp(keys, *affine, eps=KEY_NORM_EPS, layer=layer)
        keys = step.emit(op, "indexer_k")
        q, keys = (step.rotate(each, table, size, **pair) for each in (q, keys))
        name, scale = f"{self.prefix}weights_proj", heads**-0.5
        weights = step.linear(x, name, heads, role=role, scale=scale, hint="weights")
        op = SelectPoolsOp(
            *(q, keys, step.state(KEYS), batch, weights),
            heads=heads,
            scale=size**-0.5,
            count=self.count,
            layer=layer,
        )
        step.update(**{KEYS: op.cache_out})
        return step.emit(op, "selection", KEYS)
