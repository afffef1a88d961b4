"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.glm5_next.config import Glm5NextConfig, GlmMixer
from sala_compile.sala_ir.frontends.kit.decoder import Decoder
from sala_compile.sala_ir.frontends.kit.frontend import Frontend, is_after_layers
from sala_compile.sala_ir.frontends.kit.hyper_connections import HyperConnections
from sala_compile.sala_ir.frontends.kit.kimi_delta import KimiDelta
from sala_compile.sala_ir.frontends.kit.latent import Chosen, LatentAttention
from sala_compile.sala_ir.frontends.kit.pooled_indexer import GATE, PLACES, PooledIndexer
from sala_compile.sala_ir.frontends.kit.routed_latent import RoutedMlp
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer

NAMES = ("gate_proj", "up_proj", "down_proj")
VISION = "model.visual."


class Glm5NextFrontend(Frontend[Glm5NextConfig]):
    """Layers of Kimi delta attention and of latent attention to chosen pools, most with experts."""

    ROOT: ClassVar[str] = "model.language_model."

    def states(self, config: Glm5NextConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state and three windows, or a row of every token, and those of an indexer."""
        delta, latent = _delta(config).states, _attention(config).states
        indexer = _indexer(config).states
        return states_by_layer(
            delta
            if mixer is GlmMixer.DELTA
            else {**latent, **(indexer if config.has_indexer(layer) else {})}
            for layer, mixer in enumerate(config.layer_types)
        )

    def other_names(self, config: Glm5NextConfig) -> dict[str, str]:
        """Checkpoints of the text alone have no table for it, in names either."""
        names = (name for name in self.expected_tensors(config) if name.startswith(self.ROOT))
        return {f"model.{name.removeprefix(self.ROOT)}": name for name in names}

    def is_unread(self, name: str, config: Glm5NextConfig) -> bool:
        """What sees, what is for drafting after the last layer, and weights of single tokens."""
        layers = config.num_hidden_layers
        is_drafting = any(is_after_layers(name, layers, root) for root in (self.ROOT, "model."))
        is_weight = config.index_kpool == 1 and name.rpartition(".")[2] in (GATE, PLACES)
        return name.startswith(VISION) or is_drafting or is_weight

    def emit(
        self, step: StepWriter, batch: SSAValue, config: Glm5NextConfig, attention: AttentionMode
    ) -> SSAValue:
        """The decoder with several streams, each layer with the parts that the config names."""
        delta, latent, indexer = _delta(config), _attention(config), _indexer(config)
        mlp = RoutedMlp(config, "mlp", NAMES, "e_score_correction_bias", config.swiglu_limit)
        selections: dict[int, SSAValue] = {}

        def mixer(x: SSAValue) -> SSAValue:
            layer = step.layer
            assert layer is not None, "mixers stand in layers"
            if config.layer_types[layer] is GlmMixer.DELTA:
                return delta.emit(step, batch, x)

            def choose(low: SSAValue) -> SSAValue:
                if not config.has_indexer(layer):
                    return selections[layer - 1]
                selections[layer] = indexer.emit(step, batch, x, low)
                return selections[layer]

            mixed = latent.emit(step, batch, x, None, Chosen(choose, config.index_kpool))
            name, columns = "self_attn.o_proj", config.hidden_size
            return step.linear(mixed, name, columns, bias=config.attention_bias, hint="mixed")

        streams = HyperConnections(
            config.hc_mult, config.hc_sinkhorn_iters, config.hc_eps, config.rms_norm_eps
        )
        decoder = Decoder(step, config, mlp=lambda x: mlp.emit(step, x), streams=streams)
        return decoder.emit(mixer)


def _delta(config: Glm5NextConfig) -> KimiDelta:
    return KimiDelta(
        config.linear_num_heads,
        config.linear_head_dim,
        config.linear_conv_kernel_dim,
        config.rms_norm_eps,
        "self_attn.",
        decay=("f_a_proj", "f_b_proj"),
        gate=("g_a_proj", "g_b_proj"),
        lower_bound=config.linear_lower_bound,
    )


def _attention(config: Glm5NextConfig) -> LatentAttention:
    return LatentAttention(
        config.latent_heads,
        config.q_lora_rank,
        config.attention_bias,
        query_role=WeightRole.RECALL,
        norm_eps=config.rms_norm_eps,
    )


def _indexer(config: Glm5NextConfig) -> PooledIndexer:
    return PooledIndexer(
        config.index_n_heads,
        config.index_head_dim,
        config.index_kpool,
        config.index_topk // config.index_kpool,
    )
