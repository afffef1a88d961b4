"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.block_sparse import (
    attend,
    attention_mode,
    attention_states,
    query_key_role,
)
from sala_compile.sala_ir.frontends.kit.decoder import Decoder
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.lightning import Lightning
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.minicpm_sala.config import MiniCPMSalaConfig, MixerType


class MiniCPMSalaFrontend(Frontend[MiniCPMSalaConfig]):
    """Layers of InfLLM-V2 block-sparse attention and of Lightning attention."""

    def attention_mode(self, config: MiniCPMSalaConfig, requested: AttentionMode) -> AttentionMode:
        """How the layers of attention read the past; without a sparse_config they are dense."""
        return attention_mode(config.sparse_config, requested)

    def states(
        self, config: MiniCPMSalaConfig, attention: AttentionMode
    ) -> Mapping[str, StateType]:
        """Keys and values, compressed keys too where blocks are selected; or a recurrent state."""
        attends = attention_states(
            config.sparse_config,
            config.num_key_value_heads,
            config.head_dim,
            attention,
            rotates=config.attn_use_rope,
        )
        recurs = _lightning(config).states
        return states_by_layer(
            recurs if mixer is MixerType.LIGHTNING else attends for mixer in config.mixer_types
        )

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: MiniCPMSalaConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder with muP scales, each layer with the mixer that the config names."""
        mixers = _Mixers(step, batch, config, attention, _rope_tables(step, batch, config))
        decoder = Decoder(step, config, config.scale_emb, config.residual_scale, config.logit_scale)
        return decoder.emit(mixers.emit)


def _lightning(config: MiniCPMSalaConfig) -> Lightning:
    size = config.lightning_head_dim
    scale = config.lightning_scale.factor(size)
    return Lightning(
        heads=Heads(config.lightning_nh, config.lightning_nkv, size, scale),
        eps=config.rms_norm_eps,
        has_bias=config.attention_bias,
        has_qk_norm=config.qk_norm,
        has_output_norm=config.use_output_norm,
    )


def _rope_tables(
    step: StepWriter, batch: SSAValue, config: MiniCPMSalaConfig
) -> dict[MixerType, SSAValue]:
    """A table for each kind of layer that rotates; kinds with one head size share theirs."""
    rotating = {
        MixerType.SPARSE: (config.attn_use_rope, config.head_dim),
        MixerType.LIGHTNING: (config.lightning_use_rope, config.lightning_head_dim),
    }
    by_size: dict[int, SSAValue] = {}
    tables: dict[MixerType, SSAValue] = {}
    for mixer, (rotates, size) in rotating.items():
        if rotates and mixer in config.mixer_types:
            if size not in by_size:
                table = rotary(config.rope, config.rope_theta, size)
                by_size[size] = step.rope_table(batch, table)
            tables[mixer] = by_size[size]
    return tables


@dataclass(frozen=True, slots=True)
class _Mixers:
    """Emits the mixer of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: MiniCPMSalaConfig
    attention: AttentionMode
    tables: Mapping[MixerType, SSAValue]

    def emit(self, x: SSAValue) -> SSAValue:
        """From the normalised rows to the branch that joins the residual stream."""
        config, layer = self.config, self.step.layer
        assert layer is not None, "mixers stand in layers"
        if config.mixer_types[layer] is MixerType.SPARSE:
            mixed, gate = self._attention(x), config.attn_use_output_gate and "o_gate"
        else:
            table = self.tables.get(MixerType.LIGHTNING)
            mixed = _lightning(config).emit(self.step, self.batch, x, table)
            gate = config.use_output_gate and "z_proj"
        if gate:
            mixed = self.step.gate(x, mixed, f"self_attn.{gate}", bias=config.attention_bias)
        return self._linear(mixed, "o_proj", config.hidden_size, hint="mixed")

    def _attention(self, x: SSAValue) -> SSAValue:
        """Projections and attention of a `minicpm4` layer."""
        config, step, size = self.config, self.step, self.config.head_dim
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
        role = query_key_role(config.sparse_config)
        q = self._linear(x, "q_proj", heads.columns, role)
        k = self._linear(x, "k_proj", heads.kv_columns, role)
        v = self._linear(x, "v_proj", heads.kv_columns)
        table, sparse = self.tables.get(MixerType.SPARSE), config.sparse_config
        qkv = step.rotate(q, table, size), step.rotate(k, table, size), v
        return attend(step, self.batch, qkv, (q, k), heads, sparse, self.attention)

    def _linear(
        self,
        x: SSAValue,
        name: str,
        rows: int,
        role: WeightRole = WeightRole.PROJECTION,
        hint: str | None = None,
    ) -> SSAValue:
        bias = self.config.attention_bias
        return self.step.linear(x, f"self_attn.{name}", rows, bias=bias, role=role, hint=hint)
