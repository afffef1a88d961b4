"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kimi_linear.config import KimiLinearConfig, KimiMixer
from sala_compile.sala_ir.frontends.kit.decoder import Decoder
from sala_compile.sala_ir.frontends.kit.frontend import Frontend, is_after_layers
from sala_compile.sala_ir.frontends.kit.kimi_delta import KimiDelta
from sala_compile.sala_ir.frontends.kit.latent import LatentAttention
from sala_compile.sala_ir.frontends.kit.routed_latent import DENSE, RoutedMlp
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer

EXPERTS, NAMES = "block_sparse_moe", ("w1", "w3", "w2")


class KimiLinearFrontend(Frontend[KimiLinearConfig]):
    """Layers of Kimi delta attention and of latent attention, most with experts."""

    def states(self, config: KimiLinearConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state and three windows, or a row of every token."""
        kinds = {
            KimiMixer.DELTA: _delta(config).states,
            KimiMixer.ATTENTION: _attention(config).states,
        }
        return states_by_layer(kinds[mixer] for mixer in config.layer_types)

    def other_names(self, config: KimiLinearConfig) -> dict[str, str]:
        """transformers 5.23 saves the MLP of a layer without experts by the name of experts."""
        root = StepWriter().root
        return {
            f"{root}layers.{layer}.{EXPERTS}.{name}_proj.weight": (
                f"{root}layers.{layer}.mlp.{name}_proj.weight"
            )
            for layer, kind in enumerate(config.mlp_layer_types)
            if kind == DENSE
            for name in ("gate", "up", "down")
        }

    def is_unread(self, name: str, config: KimiLinearConfig) -> bool:
        """Layers after the last are for drafting."""
        return is_after_layers(name, config.num_hidden_layers)

    def emit(
        self, step: StepWriter, batch: SSAValue, config: KimiLinearConfig, attention: AttentionMode
    ) -> SSAValue:
        """The decoder without scales, each layer with the parts that the config names."""
        delta, latent = _delta(config), _attention(config)
        mlp = RoutedMlp(config, EXPERTS, NAMES, "e_score_correction_bias")

        def mixer(x: SSAValue) -> SSAValue:
            layer = step.layer
            assert layer is not None, "mixers stand in layers"
            if config.layer_types[layer] is KimiMixer.DELTA:
                return delta.emit(step, batch, x)
            mixed, bias = latent.emit(step, batch, x, None), config.attention_bias
            return step.linear(
                mixed, "self_attn.o_proj", config.hidden_size, bias=bias, hint="mixed"
            )

        return Decoder(step, config, mlp=lambda x: mlp.emit(step, x)).emit(mixer)


def _delta(config: KimiLinearConfig) -> KimiDelta:
    return KimiDelta(
        config.linear_num_heads,
        config.linear_head_dim,
        config.linear_conv_kernel_dim,
        config.rms_norm_eps,
        "self_attn.",
        decay=("f_a_proj", "f_b_proj"),
        gate=("g_a_proj", "g_b_proj"),
    )


def _attention(config: KimiLinearConfig) -> LatentAttention:
    return LatentAttention(
        config.latent_heads,
        config.q_lora_rank,
        config.attention_bias,
        query_role=WeightRole.RECALL,
    )
