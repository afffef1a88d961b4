"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads, StateHeads
from sala_compile.sala_ir.dialect import KvCacheType, SwigluOp, WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import (
    PAGE_TOKENS,
    Decoder,
    LayerNorms,
    softmax_attention,
)
from sala_compile.sala_ir.frontends.kit.delta import GatedDelta
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.olmo_hybrid.config import OlmoHybridConfig, OlmoMixer

OUTPUT_NORM_EPS = 1e-5
"""Of the norm after the delta rule, whatever the config says."""

_NORMS = {
    OlmoMixer.DELTA: LayerNorms("attention_layer_norm", "feedforward_layer_norm"),
    OlmoMixer.ATTENTION: LayerNorms(
        "post_attention_layernorm", "post_feedforward_layernorm", after=True
    ),
}


class OlmoHybridFrontend(Frontend[OlmoHybridConfig]):
    """Layers of the gated delta rule, and of attention to all of the past."""

    def states(self, config: OlmoHybridConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state and three windows, or keys and values."""
        cache = KvCacheType(config.num_key_value_heads, PAGE_TOKENS, config.head_dim, f32)
        kinds: dict[OlmoMixer, Mapping[str, StateType]] = {
            OlmoMixer.DELTA: _delta(config).states,
            OlmoMixer.ATTENTION: {"kv_cache": cache},
        }
        return states_by_layer(kinds[mixer] for mixer in config.layer_types)

    def other_names(self, config: OlmoHybridConfig) -> dict[str, str]:
        """transformers 5.23 saves the norm after attention by the name of a delta layer's norm."""
        root = StepWriter().root
        return {
            f"{root}layers.{layer}.{_NORMS[OlmoMixer.DELTA].mlp}.weight": (
                f"{root}layers.{layer}.{_NORMS[kind].mixer}.weight"
            )
            for layer, kind in enumerate(config.layer_types)
            if kind is OlmoMixer.ATTENTION
        }

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: OlmoHybridConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder without scales, each layer with the mixer that the config names."""
        table = None
        if config.rotates and OlmoMixer.ATTENTION in config.layer_types:
            frequencies = rotary(config.rope, config.rope_theta, config.head_dim)
            table = step.rope_table(batch, frequencies)
        mixers = _Mixers(step, batch, config, table)
        return Decoder(step, config).emit(
            mixers.emit, lambda layer: _NORMS[config.layer_types[layer]]
        )


@dataclass(frozen=True, slots=True)
class _Mixers:
    """Emits the mixer of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: OlmoHybridConfig
    table: SSAValue | None

    def emit(self, x: SSAValue) -> SSAValue:
        """From the rows of the stream, normalised or not, to what the layer adds."""
        layer = self.step.layer
        assert layer is not None, "mixers stand in layers"
        is_delta = self.config.layer_types[layer] is OlmoMixer.DELTA
        return self._delta(x) if is_delta else self._attention(x)

    def _delta(self, x: SSAValue) -> SSAValue:
        """The delta rule, and its output normalised head by head and gated by silu."""
        step, delta = self.step, _delta(self.config)
        mixed = delta.emit(step, self.batch, x)
        size, columns = delta.heads.value_dim, delta.heads.value_columns
        normal = step.norm(mixed, "linear_attn.o_norm", OUTPUT_NORM_EPS, size, hint="o")
        role = WeightRole.OUTPUT_GATE
        gate = step.linear(x, "linear_attn.g_proj", columns, role=role, hint="gate")
        gated = step.emit(SwigluOp(gate, normal, layer=step.layer), "gated")
        return step.linear(gated, "linear_attn.o_proj", self.config.hidden_size, hint="mixed")

    def _attention(self, x: SSAValue) -> SSAValue:
        """Queries and keys are normalised over all heads together, then rotated or not."""
        config, step, size = self.config, self.step, self.config.head_dim
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
        bias = config.attention_bias
        q, k, v = (
            step.linear(x, f"self_attn.{name}_proj", rows, bias=bias, role=role)
            for name, rows, role in (
                ("q", heads.columns, WeightRole.RECALL),
                ("k", heads.kv_columns, WeightRole.RECALL),
                ("v", heads.kv_columns, WeightRole.PROJECTION),
            )
        )
        q, k = (
            step.norm(part, f"self_attn.{name}_norm", config.rms_norm_eps, hint=name)
            for name, part in (("q", q), ("k", k))
        )
        qkv = step.rotate(q, self.table, size), step.rotate(k, self.table, size), v
        mixed = softmax_attention(step, self.batch, qkv, heads)
        return step.linear(mixed, "self_attn.o_proj", config.hidden_size, bias=bias, hint="mixed")


def _delta(config: OlmoHybridConfig) -> GatedDelta:
    key_dim = config.linear_key_head_dim
    return GatedDelta(
        heads=StateHeads(
            config.linear_num_value_heads,
            config.linear_num_key_heads,
            key_dim,
            config.linear_value_head_dim,
            key_dim**-0.5,
        ),
        taps=config.linear_conv_kernel_dim,
        rate_scale=2.0 if config.linear_allow_neg_eigval else 1.0,
    )
