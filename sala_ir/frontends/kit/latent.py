"""Latent attention: low-rank projections, rotation of a part of each head, a row per token kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import LatentHeads
from sala_compile.sala_ir.dialect import (
    HeadRowsOp,
    LatentAttentionOp,
    LatentCacheType,
    SliceOp,
    WeightRole,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.field_rules import USED, FieldRules
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS
from sala_compile.sala_ir.frontends.kit.fields import Count, HeadDim, Refuse
from sala_compile.sala_ir.frontends.kit.rope_config import Rope
from sala_compile.sala_ir.frontends.kit.step import StepWriter

LATENT_NORM_EPS = 1e-6
"""Of the norms of latents, whatever the config says."""

LATENT_FIELDS: FieldRules = dict.fromkeys(
    (
        *("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "qk_head_dim"),
        "v_head_dim",
    ),
    USED,
)


class LatentConfig(DecoderConfig):
    """The fields of latent attention; `head_dim` is the rotated part, whatever a config says."""

    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: HeadDim
    qk_rope_head_dim: HeadDim
    qk_head_dim: HeadDim
    v_head_dim: HeadDim

    @property
    def latent_heads(self) -> LatentHeads:
        """Heads and sizes; a scaling of the rotary frequencies may scale the scores too."""
        return LatentHeads(
            self.num_attention_heads,
            self.qk_nope_head_dim,
            self.qk_rope_head_dim,
            self.kv_lora_rank,
            self.v_head_dim,
            self.qk_head_dim**-0.5 * score_factor(self.rope),
        )

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        super().check(refuse)
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if heads != kv_heads:
            expected, fix = f"the {heads} heads of the queries", "correct the head counts"
            raise refuse("num_key_value_heads", kv_heads, expected, fix)
        total = self.qk_nope_head_dim + self.qk_rope_head_dim
        if self.qk_head_dim != total:
            expected = f"{total}, the sum of qk_nope_head_dim and qk_rope_head_dim"
            raise refuse("qk_head_dim", self.qk_head_dim, expected, "correct the field")
        if self.kv_lora_rank % 2:
            fix = "odd latents are not supported"
            raise refuse("kv_lora_rank", self.kv_lora_rank, "an even number", fix)


def fill_latent(fields: dict[str, object]) -> None:
    """What follows from other fields of latent attention; those that are there stay."""
    nope, rotary = fields.get("qk_nope_head_dim"), fields.get("qk_rope_head_dim")
    if rotary is not None:
        fields["head_dim"] = rotary
    if type(nope) is int and type(rotary) is int:
        fields.setdefault("qk_head_dim", nope + rotary)


def score_factor(rope: Rope) -> float:
    """What a scaling with `mscale_all_dim` multiplies the scores by, besides cosines and sines."""
    if rope.rope_type == "default" or not rope.mscale_all_dim or rope.factor <= 1:
        return 1.0
    return (0.1 * rope.mscale_all_dim * math.log(rope.factor) + 1.0) ** 2


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which pools of `pool` tokens are read: `choose` makes a selection of the latents of queries.

    It may be that of another layer.
    """

    choose: Callable[[SSAValue], SSAValue]
    pool: int


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Parameters of the latent attention of a model; tensors begin with `prefix`.

    `query_role` is what the projections of queries and latents are for, `norm_eps` is that of
    their norms.
    """

    heads: LatentHeads
    query_rank: int | None
    bias: bool = False
    interleaved: bool = False
    prefix: str = "self_attn."
    query_role: WeightRole = WeightRole.PROJECTION
    norm_eps: float = LATENT_NORM_EPS

    @property
    def states(self) -> Mapping[str, StateType]:
        """States of a layer by kind."""
        heads = self.heads
        cache = LatentCacheType(PAGE_TOKENS, heads.latent_dim, heads.rotary_dim, f32)
        return {"latent_cache": cache}

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        x: SSAValue,
        table: SSAValue | None,
        chosen: Chosen | None = None,
    ) -> SSAValue:
        """From normalised rows to the values of all heads; nothing is rotated without a table.

        Of the past all is read, or the pools that are `chosen`.
        """
        heads, prefix, layer = self.heads, self.prefix, step.layer
        pair = {"interleaved": self.interleaved}
        low = self._query_latents(step, x)
        pools = None if chosen is None else chosen.choose(low)
        q = self._queries(step, low)
        q = step.rotate(q, table, heads.query_dim, start=heads.key_dim, **pair)
        name, role = f"{prefix}kv_a_proj_with_mqa", self.query_role
        kept = step.linear(x, name, heads.cached_dim, bias=self.bias, role=role, hint="kept")
        latent, rotary = kept, None
        if heads.rotary_dim:
            latent, rotary = (
                step.emit(SliceOp(kept, start=start, size=size, layer=layer), hint)
                for start, size, hint in (
                    (0, heads.latent_dim, "latent"),
                    (heads.latent_dim, heads.rotary_dim, "rotary"),
                )
            )
            rotary = step.rotate(rotary, table, heads.rotary_dim, **pair)
        latent = step.norm(latent, f"{prefix}kv_a_layernorm", self.norm_eps, hint="latent")
        op = LatentAttentionOp(
            *(q, latent, rotary, step.state("latent_cache"), batch),
            *self._key_value_weights(step),
            pools,
            pool=None if chosen is None else chosen.pool,
            heads=heads,
            layer=layer,
        )
        step.update(latent_cache=op.cache_out)
        return step.emit(op, "mixed", "latent_cache")

    def _query_latents(self, step: StepWriter, x: SSAValue) -> SSAValue:
        """What one more matrix makes queries of: x, or a normalised latent of a lower rank."""
        if self.query_rank is None:
            return x
        place, rank = f"{self.prefix}q_a_", self.query_rank
        role, hint = self.query_role, "q_latent"
        low = step.linear(x, f"{place}proj", rank, bias=self.bias, role=role, hint=hint)
        return step.norm(low, f"{place}layernorm", self.norm_eps, hint="q_latent")

    def _queries(self, step: StepWriter, low: SSAValue) -> SSAValue:
        """The queries of all heads."""
        name = "q_proj" if self.query_rank is None else "q_b_proj"
        columns = self.heads.num_heads * self.heads.query_dim
        return step.linear(low, self.prefix + name, columns, role=self.query_role, hint="q")

    def _key_value_weights(self, step: StepWriter) -> tuple[SSAValue, SSAValue]:
        """What makes keys of a latent, and transposed what makes values of it, head by head."""
        heads, name = self.heads, f"{step.prefix}{self.prefix}kv_b_proj.weight"
        rows = heads.num_heads * (heads.key_dim + heads.value_dim)
        weight = step.weight(name, (rows, heads.latent_dim))
        keys = HeadRowsOp(
            weight, heads=heads.num_heads, start=0, size=heads.key_dim, layer=step.layer
        )
        values = HeadRowsOp(
            weight,
            heads=heads.num_heads,
            start=heads.key_dim,
            size=heads.value_dim,
            transposed=1,
            layer=step.layer,
        )
        return step.emit(keys, "key_weight"), step.emit(values, "value_weight")
