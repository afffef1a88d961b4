"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads, StateHeads
from sala_compile.sala_ir.dialect import KvCacheType, ResidualAddOp, SwigluOp, WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.falcon_h1.config import FalconH1Config
from sala_compile.sala_ir.frontends.kit.decoder import (
    PAGE_TOKENS,
    Decoder,
    LayerNorms,
    softmax_attention,
)
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.mamba import Mamba
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer


class FalconH1Frontend(Frontend[FalconH1Config]):
    """Layers that add a recurrence and attention to one stream."""

    def states(self, config: FalconH1Config, attention: AttentionMode) -> Mapping[str, StateType]:
        """A window, a recurrent state, and keys and values of every layer."""
        cache = KvCacheType(config.num_key_value_heads, PAGE_TOKENS, config.head_dim, f32)
        kinds = {**_mamba(config).states, "kv_cache": cache}
        return states_by_layer([kinds] * config.num_hidden_layers)

    def emit(
        self, step: StepWriter, batch: SSAValue, config: FalconH1Config, attention: AttentionMode
    ) -> SSAValue:
        """The decoder with its factors, and both mixers in every layer."""
        size = config.head_dim
        table = step.rope_table(batch, rotary(config.rope, config.rope_theta, size))
        layers = _Layers(step, batch, config, table)
        decoder = Decoder(
            step,
            config,
            embedding_scale=config.embedding_multiplier,
            logit_scale=config.lm_head_multiplier,
            final_norm="final_layernorm",
            mlp=layers.feed_forward,
        )
        norms = LayerNorms("input_layernorm", "pre_ff_layernorm")
        return decoder.emit(layers.mixers, lambda layer: norms)


@dataclass(frozen=True, slots=True)
class _Layers:
    """Emits the parts of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: FalconH1Config
    table: SSAValue

    def mixers(self, x: SSAValue) -> SSAValue:
        """The sum of the recurrence and of attention, each times its factor."""
        recurrent = _mamba(self.config).emit(
            self.step, self.batch, x, self.config.hidden_size, scale=self.config.ssm_out_multiplier
        )
        op = ResidualAddOp(recurrent, self._attention(x), layer=self.step.layer)
        return self.step.emit(op, "mixed")

    def feed_forward(self, x: SSAValue) -> SSAValue:
        """down(up(x) * silu(gate(x) * first)) * second."""
        step, inner = self.step, self.config.intermediate_size
        first, second = self.config.mlp_multipliers
        gate = step.linear(x, "feed_forward.gate_proj", inner, scale=first)
        up = step.linear(x, "feed_forward.up_proj", inner)
        product = step.emit(SwigluOp(gate, up, layer=step.layer), "inner")
        return step.linear(product, "feed_forward.down_proj", self.config.hidden_size, scale=second)

    def _attention(self, x: SSAValue) -> SSAValue:
        """Keys take their factor before they are rotated, as a factor of their product."""
        config, step, size = self.config, self.step, self.config.head_dim
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
        scale = config.attention_in_multiplier
        q, k, v = (
            step.linear(x, f"self_attn.{name}_proj", rows, role=role, scale=factor)
            for name, rows, role, factor in (
                ("q", heads.columns, WeightRole.RECALL, scale),
                ("k", heads.kv_columns, WeightRole.RECALL, scale * config.key_multiplier),
                ("v", heads.kv_columns, WeightRole.PROJECTION, scale),
            )
        )
        qkv = step.rotate(q, self.table, size), step.rotate(k, self.table, size), v
        mixed = softmax_attention(step, self.batch, qkv, heads)
        factor = config.attention_out_multiplier
        return step.linear(mixed, "self_attn.o_proj", config.hidden_size, scale=factor, hint="o")


def _mamba(config: FalconH1Config) -> Mamba:
    heads = StateHeads(
        config.mamba_n_heads,
        config.mamba_n_groups,
        config.mamba_d_state,
        config.mamba_d_head,
        1.0,
    )
    return Mamba(
        heads=heads,
        taps=config.mamba_d_conv,
        has_conv_bias=config.mamba_conv_bias,
        norm_eps=config.rms_norm_eps if config.mamba_rms_norm else None,
        norm_before_gate=config.mamba_norm_before_gate,
        factors=config.ssm_multipliers,
        scale=config.ssm_in_multiplier,
        limits=config.time_step_limit,
    )
