"""Indexers whose keys are means of pools of tokens, normalised and rotated as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    IndexerKeysType,
    OpenPoolType,
    PoolTokensOp,
    SelectPoolsOp,
    SliceOp,
    WeightRole,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS
from sala_compile.sala_ir.frontends.kit.fields import Refuse
from sala_compile.sala_ir.frontends.kit.step import StepWriter

KEYS, OPEN_POOL = "indexer_keys", "open_pool"


@dataclass(frozen=True, slots=True)
class MeanIndexer:
    """Parameters of the indexers of a model: `heads` of `size` columns, `count` pools of `pool`.

    Tensors are those of `self_attn.indexer`: rows of `index_qk_proj` are the queries of all heads,
    then one key. Weights of norms are stored less `norm_offset`.
    """

    heads: int
    size: int
    count: int
    pool: int
    eps: float
    norm_offset: float = 0.0

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        found: dict[str, StateType] = {
            KEYS: IndexerKeysType(self.pool, self.size, PAGE_TOKENS, f32)
        }
        if self.pool > 1:
            found[OPEN_POOL] = OpenPoolType(self.pool - 1, self.size, f32)
        return found

    def check(self, refuse: Refuse, fields: Mapping[str, Any], rotated: int) -> None:
        """Raise `ConfigError` for the first field `indexer_<name>` that is absent or does not fit.

        `rotated` dimensions of a head are rotated.
        """
        fix, named = "correct the field", {f"indexer_{n}": each for n, each in fields.items()}
        for name, found in named.items():
            if found is None:
                raise refuse(name, None, "a value: layers attend to what an indexer chooses", fix)
        if fields["kv_heads"] != 1:
            raise refuse("indexer_kv_heads", fields["kv_heads"], "1", fix)
        pool, budget = self.pool, fields["budget"]
        if PAGE_TOKENS % pool:
            expected = f"a divisor of {PAGE_TOKENS}, the tokens of a page"
            raise refuse("indexer_compress_ratio", pool, expected, "other pools are not supported")
        if not self.count or self.count * pool != budget:
            raise refuse("indexer_budget", budget, f"a multiple of {pool}", fix)
        if self.size % 2 or self.size < rotated:
            expected = f"an even number from {rotated}, the rotated dimensions, on"
            raise refuse("indexer_head_dim", self.size, expected, fix)

    def chooser(
        self, step: StepWriter, batch: SSAValue, table: SSAValue, places: SSAValue
    ) -> Callable[[SSAValue], SSAValue]:
        """From what a layer attends with to the pools that each token reads.

        `table` rotates queries; `places` keys, where a token ends a pool by the place of its first.
        """

        def choose(x: SSAValue) -> SSAValue:
            size, queries, layer = self.size, self.heads * self.size, step.layer
            name, role = "self_attn.indexer.index_qk_proj", WeightRole.BLOCK_SELECTION
            both = step.linear(x, name, queries + size, role=role, hint="indexer")
            q, key = (
                step.emit(SliceOp(both, start=start, size=columns, layer=layer), hint)
                for hint, start, columns in (("q", 0, queries), ("k", queries, size))
            )
            if self.pool > 1:
                op = PoolTokensOp(key, step.state(OPEN_POOL), batch, pool=self.pool, layer=layer)
                step.update(**{OPEN_POOL: op.state_out})
                key = step.emit(op, "k", OPEN_POOL)
            q = step.rotate(self._normal(step, q, "q"), table, size)
            key = step.rotate(self._normal(step, key, "k"), places, size)
            op = SelectPoolsOp(
                q,
                key,
                step.state(KEYS),
                batch,
                heads=self.heads,
                scale=size**-0.5,
                count=self.count,
                layer=layer,
            )
            step.update(**{KEYS: op.cache_out})
            return step.emit(op, "selection", KEYS)

        return choose

    def _normal(self, step: StepWriter, part: SSAValue, name: str) -> SSAValue:
        """Every head normalised."""
        place, offset = f"self_attn.indexer.{name}_layernorm", self.norm_offset
        return step.norm(part, place, self.eps, self.size, offset=offset, hint=name)
