"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import KvCacheType, WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.hypenet.config import HypeNetConfig, HypeNetMixer
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS, Decoder, softmax_attention
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.lightning import Lightning
from sala_compile.sala_ir.frontends.kit.rotary import Rotary, rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer


class HypeNetFrontend(Frontend[HypeNetConfig]):
    """Layers of Lightning attention, and of attention to all of the past."""

    def states(self, config: HypeNetConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state, or keys and values."""
        cache = KvCacheType(config.num_key_value_heads, PAGE_TOKENS, config.head_dim, f32)
        kinds: dict[HypeNetMixer, Mapping[str, StateType]] = {
            HypeNetMixer.LIGHTNING: _lightning(config).states,
            HypeNetMixer.ATTENTION: {"kv_cache": cache},
        }
        return states_by_layer(kinds[mixer] for mixer in config.mixer_types)

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: HypeNetConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder without scales, each layer with the mixer that the config names."""
        tables = _Tables.of(step, batch, config)
        return Decoder(step, config).emit(_Mixers(step, batch, config, tables).emit)


@dataclass(frozen=True, slots=True)
class _Tables:
    """Rotary tables of the step; None where nothing is rotated or scaled."""

    lightning: SSAValue | None
    keys: SSAValue | None
    queries: SSAValue | None

    @classmethod
    def of(cls, step: StepWriter, batch: SSAValue, config: HypeNetConfig) -> _Tables:
        """One table rotates all layers; queries that are scaled by position have their own."""
        size, mixers = config.head_dim, config.mixer_types
        attends = HypeNetMixer.ATTENTION in mixers
        rotates = attends and config.attn_use_rope
        recurs = HypeNetMixer.LIGHTNING in mixers and config.lightning_use_rope
        plain = rotary(config.rope, config.rope_theta, size)
        table = step.rope_table(batch, plain) if rotates or recurs else None
        keys = table if rotates else None
        scaling, queries = config.attn_logits_scaling, keys
        if attends and scaling.offset:
            base = plain if rotates else Rotary((0.0,) * (size // 2))
            factor = base.factor * scaling.factor
            scaled = replace(base, factor=factor, log_offset=scaling.offset)
            queries = step.rope_table(batch, scaled)
        return cls(table if recurs else None, keys, queries)


@dataclass(frozen=True, slots=True)
class _Mixers:
    """Emits the mixer of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: HypeNetConfig
    tables: _Tables

    def emit(self, x: SSAValue) -> SSAValue:
        """From the normalised rows to the branch that joins the residual stream."""
        config, step, layer = self.config, self.step, self.step.layer
        assert layer is not None, "mixers stand in layers"
        bias = config.attention_bias
        if config.mixer_types[layer] is HypeNetMixer.LIGHTNING:
            mixed = _lightning(config).emit(step, self.batch, x, self.tables.lightning)
            if config.lightning_use_output_gate:
                mixed = step.gate(x, mixed, "self_attn.z_proj", bias=bias)
        else:
            mixed = self._attention(x)
            if config.attn_use_output_gate:
                mixed = step.gate(x, mixed, "self_attn.o_gate")
        return step.linear(mixed, "self_attn.o_proj", config.hidden_size, bias=bias, hint="mixed")

    def _attention(self, x: SSAValue) -> SSAValue:
        """Projections, norms, rotation or scaling, and attention to all of the past."""
        config, step, size = self.config, self.step, self.config.head_dim
        scaling = config.attn_logits_scaling
        scale = size**-0.5 * (1.0 if scaling.offset else scaling.factor)
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, scale)
        q, k, v = (
            step.linear(x, f"self_attn.{name}_proj", rows, bias=config.attention_bias, role=role)
            for name, rows, role in (
                ("q", heads.columns, WeightRole.RECALL),
                ("k", heads.kv_columns, WeightRole.RECALL),
                ("v", heads.kv_columns, WeightRole.PROJECTION),
            )
        )
        q, k = (
            step.norm(part, f"self_attn.{name}_norm", config.rms_norm_eps, size, hint=name)
            for name, part in (("q", q), ("k", k))
        )
        q = step.rotate(q, self.tables.queries, size)
        k = step.rotate(k, self.tables.keys, size)
        return softmax_attention(step, self.batch, (q, k, v), heads)


def _lightning(config: HypeNetConfig) -> Lightning:
    size = config.lightning_head_dim
    scale = config.lightning_scale.factor(size)
    return Lightning(
        heads=Heads(config.lightning_nh, config.lightning_nkv, size, scale),
        eps=config.rms_norm_eps,
        has_bias=config.attention_bias,
        has_qk_norm=config.lightning_use_qk_norm,
        has_output_norm=config.lightning_use_output_norm,
    )
