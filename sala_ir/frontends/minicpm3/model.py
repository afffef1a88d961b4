"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import Decoder
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.latent import LatentAttention
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.minicpm3.config import MiniCPM3Config


class MiniCPM3Frontend(Frontend[MiniCPM3Config]):
    """Latent attention in every layer; embeddings, branches and the last norm are scaled."""

    def states(self, config: MiniCPM3Config, attention: AttentionMode) -> Mapping[str, StateType]:
        """A row of every token in every layer."""
        return states_by_layer([_attention(config).states] * config.num_hidden_layers)

    def emit(
        self, step: StepWriter, batch: SSAValue, config: MiniCPM3Config, attention: AttentionMode
    ) -> SSAValue:
        """Projections, attention and output projection, layer by layer."""
        frequencies = rotary(config.rope, config.rope_theta, config.qk_rope_head_dim)
        table, mixing = step.rope_table(batch, frequencies), _attention(config)

        def mixer(x: SSAValue) -> SSAValue:
            mixed, columns = mixing.emit(step, batch, x, table), config.hidden_size
            bias = config.attention_bias
            return step.linear(mixed, "self_attn.o_proj", columns, bias=bias, hint="mixed")

        scales = (config.scale_emb, config.residual_scale, config.logit_scale)
        return Decoder(step, config, *scales).emit(mixer)


def _attention(config: MiniCPM3Config) -> LatentAttention:
    return LatentAttention(config.latent_heads, config.q_lora_rank, config.attention_bias)
