"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import OutputGateOp, WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.bailing_hybrid.config import BailingHybridConfig, BailingMixer
from sala_compile.sala_ir.frontends.kit.decoder import EMBEDDING, Decoder
from sala_compile.sala_ir.frontends.kit.frontend import Frontend, is_after_layers
from sala_compile.sala_ir.frontends.kit.kimi_delta import KimiDelta
from sala_compile.sala_ir.frontends.kit.latent import LatentAttention
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.routed_latent import RoutedMlp
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer

ATTENTION, OUTPUT = "attention.", "dense"
NAMES = ("gate_proj", "up_proj", "down_proj")


class BailingHybridFrontend(Frontend[BailingHybridConfig]):
    """Layers of Kimi delta attention and of latent attention with gates, most with experts."""

    def states(
        self, config: BailingHybridConfig, attention: AttentionMode
    ) -> Mapping[str, StateType]:
        """A recurrent state and three windows, or a row of every token."""
        kinds = {
            BailingMixer.DELTA: _delta(config).states,
            BailingMixer.ATTENTION: _attention(config).states,
        }
        return states_by_layer(kinds[mixer] for mixer in config.layer_types)

    def other_names(self, config: BailingHybridConfig) -> dict[str, str]:
        """The embedding has its own name; the last projection of delta layers may have another."""
        root = StepWriter().root
        names = {f"{root}word_embeddings.weight": root + EMBEDDING}
        for layer in range(config.num_hidden_layers):
            place = f"{root}layers.{layer}.{ATTENTION}"
            names[f"{place}o_proj.weight"] = f"{place}{OUTPUT}.weight"
        return names

    def is_unread(self, name: str, config: BailingHybridConfig) -> bool:
        """Layers after the last are for drafting."""
        return is_after_layers(name, config.num_hidden_layers)

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: BailingHybridConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder without scales, each layer with the parts that the config names."""
        table = None
        if BailingMixer.ATTENTION in config.layer_types:
            frequencies = rotary(config.rope, config.rope_theta, config.qk_rope_head_dim)
            table = step.rope_table(batch, frequencies)
        mlp = RoutedMlp(config, "mlp", NAMES, "expert_bias")
        mixers = _Mixers(step, batch, config, table)
        return Decoder(step, config, mlp=lambda x: mlp.emit(step, x)).emit(mixers.emit)


@dataclass(frozen=True, slots=True)
class _Mixers:
    """Emits the mixer of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: BailingHybridConfig
    table: SSAValue | None

    def emit(self, x: SSAValue) -> SSAValue:
        """From the normalised rows of the stream to what the layer adds."""
        step, config, layer = self.step, self.config, self.step.layer
        assert layer is not None, "mixers stand in layers"
        if config.layer_types[layer] is BailingMixer.DELTA:
            return _delta(config).emit(step, self.batch, x)
        mixed = _attention(config).emit(step, self.batch, x, self.table)
        name, role = f"{ATTENTION}g_proj", WeightRole.OUTPUT_GATE
        gate = step.linear(x, name, config.num_attention_heads, role=role, hint="gate")
        gated = step.emit(OutputGateOp(mixed, gate, layer=layer), "gated")
        return step.linear(gated, ATTENTION + OUTPUT, config.hidden_size, hint="mixed")


def _delta(config: BailingHybridConfig) -> KimiDelta:
    return KimiDelta(
        config.linear_num_heads,
        config.linear_head_dim,
        config.linear_conv_kernel_dim,
        config.rms_norm_eps,
        ATTENTION,
        decay=("f_proj",),
        gate=("g_proj",),
        output=OUTPUT,
        lower_bound=config.kda_lower_bound if config.kda_safe_gate else 0.0,
    )


def _attention(config: BailingHybridConfig) -> LatentAttention:
    return LatentAttention(
        config.latent_heads,
        None,
        interleaved=True,
        prefix=ATTENTION,
        query_role=WeightRole.RECALL,
    )
