"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import (
    KvCacheType,
    OutputGateOp,
    SwigluOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS, Decoder, LayerNorms
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.gated_attention import GatedAttention
from sala_compile.sala_ir.frontends.kit.gated_streams import GatedStreams
from sala_compile.sala_ir.frontends.kit.ngrams import TABLE
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.qwen3_next.config import QwenMixer
from sala_compile.sala_ir.frontends.qwen3_next.model import QwenParts, attention_of, delta_of
from sala_compile.sala_ir.frontends.qwen4_exp.config import STORED_LESS, Qwen4ExpConfig

UNREAD = ("mtp.", "model.mtp.", "model.visual.", "visual.")
"""Beginnings of tensors that guess tokens or see pictures."""


class Qwen4ExpFrontend(Frontend[Qwen4ExpConfig]):
    """Layers of the gated delta rule and of indexed attention, all with experts, over streams."""

    def attention_mode(self, config: Qwen4ExpConfig, requested: AttentionMode) -> AttentionMode:
        """Layers that attend read what an indexer chooses, or all of the past where requested."""
        if QwenMixer.ATTENTION not in config.layer_types:
            return super().attention_mode(config, requested)
        dense = requested is AttentionMode.DENSE
        return AttentionMode.DENSE if dense else AttentionMode.SPARSE

    def states(self, config: Qwen4ExpConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state and windows, or keys and values and what chooses among them."""
        sizes = (config.num_key_value_heads, PAGE_TOKENS, config.head_dim)
        attends: dict[str, StateType] = {"kv_cache": KvCacheType(*sizes, f32)}
        if QwenMixer.ATTENTION in config.layer_types and attention is not AttentionMode.DENSE:
            attends |= config.indexer.states
        kinds = {QwenMixer.DELTA: delta_of(config).packed_states, QwenMixer.ATTENTION: attends}
        columns, ngrams = config.hc_count * config.hidden_size, config.ngrams
        return states_by_layer(
            {**kinds[mixer], **ngrams.states(layer, columns)}
            for layer, mixer in enumerate(config.layer_types)
        )

    def is_unread(self, name: str, config: Qwen4ExpConfig) -> bool:
        """What guesses tokens, sees pictures, or follows from the config is not read."""
        return name.startswith(UNREAD) or (TABLE in name and name in self.implied_numbers(config))

    def implied_numbers(self, config: Qwen4ExpConfig) -> Mapping[str, Sequence[int]]:
        """The numbers of the hashes of n-grams."""
        return config.ngrams.numbers(self.ROOT)

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: Qwen4ExpConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder over streams, which norm what blocks read."""
        attend = attention_of(step, batch, config)
        if attention is not AttentionMode.DENSE:
            attend = _choosing(attend, step, batch, config)
        parts, ngrams = _Parts(step, batch, config, attend), config.ngrams
        streams = GatedStreams(
            config.hc_count,
            config.hc_lowrank,
            config.rms_norm_eps,
            STORED_LESS,
            lambda step, x, streams: ngrams.emit(step, batch, x, streams),
        )
        decoder = Decoder(step, config, mlp=parts.mlp, final_norm="", streams=streams)
        return decoder.emit(parts.mixer, lambda layer: LayerNorms("", ""))


class NestedFrontend(Qwen4ExpFrontend):
    """The text model of a checkpoint that sees pictures, too."""

    ROOT: ClassVar[str] = "model.language_model."


@dataclass(frozen=True, slots=True)
class _Parts(QwenParts):
    """Those of Qwen3-Next but for delta layers, whose projections are plain."""

    config: Qwen4ExpConfig

    def delta(self, x: SSAValue) -> SSAValue:
        """The delta rule, its output normalised head by head with a plain weight, and gated."""
        step, config, delta = self.step, self.config, delta_of(self.config)
        heads, layer = delta.heads, step.layer
        rows = 2 * heads.key_columns + heads.value_columns
        qkv = step.linear(x, "linear_attn.in_proj_qkv", rows)
        z = step.linear(
            x, "linear_attn.in_proj_z", heads.value_columns, role=WeightRole.OUTPUT_GATE
        )
        rate, decay = (
            step.linear(x, f"linear_attn.in_proj_{name}", heads.num_heads, role=WeightRole.DECAY)
            for name in ("b", "a")
        )
        mixed = delta.emit_packed(step, self.batch, qkv, decay, rate)
        name, eps = "linear_attn.norm", config.rms_norm_eps
        normal = step.norm(mixed, name, eps, heads.value_dim, hint="o")
        is_silu = config.output_gate_type == "silu"
        op = SwigluOp(z, normal, layer=layer) if is_silu else OutputGateOp(normal, z, layer=layer)
        return step.linear(step.emit(op, "gated"), "linear_attn.out_proj", columns_of(x))


def _choosing(
    attend: GatedAttention | None, step: StepWriter, batch: SSAValue, config: Qwen4ExpConfig
) -> GatedAttention | None:
    """Attention to what an indexer chooses, whose keys have the places of the first of a pool."""
    if attend is None:
        return None
    indexer, places = config.indexer, attend.table
    if indexer.pool > 1:
        frequencies = rotary(config.rope, config.rope_theta, config.rotated)
        places = step.rope_table(batch, replace(frequencies, position_offset=1 - indexer.pool))
    choose = indexer.chooser(step, batch, attend.table, places)
    return replace(attend, choose=choose, pool=indexer.pool)
