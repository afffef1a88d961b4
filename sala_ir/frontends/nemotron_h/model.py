"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import NO_LIMIT, Heads, StateHeads
from sala_compile.sala_ir.dialect import KvCacheType, ScoreFunction, WeightRole, columns_of
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import (
    PAGE_TOKENS,
    Decoder,
    LayerNorms,
    softmax_attention,
    squared_mlp,
)
from sala_compile.sala_ir.frontends.kit.experts import Experts, Router, together
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.mamba import Mamba
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.nemotron_h.config import NemotronHConfig, NemotronMixer

GATE_EPS = 1e-20
"""What is added to the sum of the chosen gates."""
DRAFTING = "mtp."
"""Tensors that only guess tokens."""
NORMS = LayerNorms("norm", None)


class NemotronHFrontend(Frontend[NemotronHConfig]):
    """Layers of one mixer each."""

    ROOT: ClassVar[str] = "backbone."
    EMBEDDING: ClassVar[str] = "embeddings.weight"

    def states(self, config: NemotronHConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state and a window, keys and values, or nothing."""
        cache = KvCacheType(config.num_key_value_heads, PAGE_TOKENS, config.head_dim, f32)
        kinds: dict[NemotronMixer, Mapping[str, StateType]] = {
            NemotronMixer.MAMBA: _mamba(config).states,
            NemotronMixer.ATTENTION: {"kv_cache": cache},
        }
        return states_by_layer(kinds.get(mixer, {}) for mixer in config.layers_block_type)

    def is_unread(self, name: str, config: NemotronHConfig) -> bool:
        """The layers for drafting are not read."""
        return name.startswith(DRAFTING)

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: NemotronHConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder with one norm and one mixer for each layer."""
        mixers = _Mixers(step, batch, config)
        decoder = Decoder(step, config, final_norm="norm_f", embedding=self.EMBEDDING)
        return decoder.emit(mixers.emit, lambda layer: NORMS)


@dataclass(frozen=True, slots=True)
class _Mixers:
    """Emits the mixer of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: NemotronHConfig

    def emit(self, x: SSAValue) -> SSAValue:
        """From the normalised rows of the stream to what the layer adds."""
        layer = self.step.layer
        assert layer is not None, "mixers stand in layers"
        match self.config.layers_block_type[layer]:
            case NemotronMixer.MAMBA:
                return _mamba(self.config).emit(self.step, self.batch, x, columns_of(x))
            case NemotronMixer.ATTENTION:
                return self._attention(x)
            case NemotronMixer.MLP:
                return squared_mlp(self.step, x, "mixer.", self.config.intermediate_size)
            case NemotronMixer.EXPERTS:
                return self._experts(x)

    def _attention(self, x: SSAValue) -> SSAValue:
        """To all of the past, without any positions."""
        config, step, size = self.config, self.step, self.config.head_dim
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
        q, k, v = (
            step.linear(x, f"mixer.{name}_proj", rows, role=role)
            for name, rows, role in (
                ("q", heads.columns, WeightRole.RECALL),
                ("k", heads.kv_columns, WeightRole.RECALL),
                ("v", heads.kv_columns, WeightRole.PROJECTION),
            )
        )
        mixed = softmax_attention(step, self.batch, (q, k, v), heads)
        return step.linear(mixed, "mixer.o_proj", columns_of(x), hint="mixed")

    def _experts(self, x: SSAValue) -> SSAValue:
        """The chosen experts, of x or of a latent of it, and the one that every token takes."""
        config, step = self.config, self.step
        router = Router(
            ScoreFunction.SIGMOID,
            config.num_experts_per_tok,
            "mixer.gate",
            bias="mixer.gate.e_score_correction_bias",
            groups=config.n_group,
            chosen_groups=config.topk_group,
            normalised=config.norm_topk_prob,
            eps=GATE_EPS,
            scale=config.routed_scaling_factor,
        )
        experts = Experts(
            config.n_routed_experts,
            config.moe_intermediate_size,
            router,
            "mixer",
            names=("up_proj", "down_proj"),
        )
        latent = config.moe_latent_size
        inner = None if latent is None else step.linear(x, "mixer.fc1_latent_proj", latent)
        routed = experts.emit(step, x, inner)
        if latent is not None:
            routed = step.linear(routed, "mixer.fc2_latent_proj", columns_of(x))
        width = config.moe_shared_expert_intermediate_size
        return together(step, squared_mlp(step, x, "mixer.shared_experts.", width), routed)


def _mamba(config: NemotronHConfig) -> Mamba:
    heads = StateHeads(
        config.mamba_num_heads,
        config.n_groups,
        config.ssm_state_size,
        config.mamba_head_dim,
        1.0,
    )
    return Mamba(
        heads=heads,
        taps=config.conv_kernel,
        has_conv_bias=config.use_conv_bias,
        norm_eps=config.rms_norm_eps,
        norm_before_gate=False,
        limits=(config.time_step_min, NO_LIMIT),
        name="mixer",
    )
