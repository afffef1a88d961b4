"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads, StateHeads
from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    KvCacheType,
    OutputGateOp,
    ScoreFunction,
    SwigluOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS, Decoder, gated_mlp
from sala_compile.sala_ir.frontends.kit.delta import GatedDelta
from sala_compile.sala_ir.frontends.kit.experts import Experts, Router, together
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.gated_attention import GatedAttention
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.qwen3_next.config import Qwen3NextConfig, QwenMixer

STORED_LESS = 1.0
"""What the weights of norms are stored less of."""
DRAFTING = "mtp."
"""Tensors that only guess tokens."""


class Qwen3NextFrontend(Frontend[Qwen3NextConfig]):
    """Layers of the gated delta rule and of gated attention, most with experts."""

    def states(self, config: Qwen3NextConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state and a window, or keys and values."""
        cache = KvCacheType(config.num_key_value_heads, PAGE_TOKENS, config.head_dim, f32)
        kinds: dict[QwenMixer, Mapping[str, StateType]] = {
            QwenMixer.DELTA: delta_of(config).packed_states,
            QwenMixer.ATTENTION: {"kv_cache": cache},
        }
        return states_by_layer(kinds[mixer] for mixer in config.layer_types)

    def is_unread(self, name: str, config: Qwen3NextConfig) -> bool:
        """The layers for drafting are not read."""
        return name.startswith(DRAFTING)

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: Qwen3NextConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder with norms stored less 1, each layer with the parts that the config names."""
        parts = QwenParts(step, batch, config, attention_of(step, batch, config))
        return Decoder(step, config, mlp=parts.mlp, norm_offset=STORED_LESS).emit(parts.mixer)


@dataclass(frozen=True, slots=True)
class QwenParts:
    """Emits mixer and MLP of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: Qwen3NextConfig
    attend: GatedAttention | None

    @property
    def _layer(self) -> int:
        assert self.step.layer is not None, "these parts stand in layers"
        return self.step.layer

    def mixer(self, x: SSAValue) -> SSAValue:
        """From the normalised rows of the stream to what the layer adds."""
        if self.config.layer_types[self._layer] is QwenMixer.DELTA:
            return self.delta(x)
        assert self.attend is not None, "some layer attends"
        return self.attend.emit(self.step, self.batch, x)

    def mlp(self, x: SSAValue) -> SSAValue:
        """The gated MLP, or the experts and the one that every token takes, gated."""
        step, config = self.step, self.config
        if not config.has_experts(self._layer):
            return gated_mlp(step, x, "mlp.", config.intermediate_size)
        return routed_mlp(step, config, x)

    def delta(self, x: SSAValue) -> SSAValue:
        """The delta rule, its output normalised head by head with a plain weight, and gated."""
        step, delta, columns = self.step, delta_of(self.config), columns_of(x)
        heads = delta.heads
        share = heads.num_heads // heads.key_heads
        keys, values = heads.key_dim, share * heads.value_dim
        qkv, z = self._rows(x, "in_proj_qkvz", (keys, keys, values, values), 3)
        rate, decay = self._rows(x, "in_proj_ba", (share, share), 1, WeightRole.DECAY)
        mixed = delta.emit_packed(step, self.batch, qkv, decay, rate)
        name, eps = "linear_attn.norm", self.config.rms_norm_eps
        normal = step.norm(mixed, name, eps, heads.value_dim, hint="o")
        gated = step.emit(SwigluOp(z, normal, layer=step.layer), "gated")
        return step.linear(gated, "linear_attn.out_proj", columns, hint="mixed")

    def _rows(
        self,
        x: SSAValue,
        name: str,
        sizes: tuple[int, ...],
        first: int,
        role: WeightRole = WeightRole.PROJECTION,
    ) -> tuple[SSAValue, SSAValue]:
        """Two products: of the `first` parts side by side, and of the last one.

        The rows of the tensor are for each key head the parts of these `sizes`.
        """
        step, period = self.step, sum(sizes)
        rows = self.config.linear_num_key_heads * period
        tensor = f"{step.prefix}linear_attn.{name}.weight"
        whole = step.weight(tensor, (rows, columns_of(x)), role)
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        parts = [step.rows(whole, *place, period) for place in zip(starts, sizes, strict=True)]
        joined = parts[0]
        if first > 1:
            joined = step.emit(ConcatWeightsOp(parts[:first], layer=step.layer), "joined")
        return step.product(x, joined, "mixed"), step.product(x, parts[first], "z")


def routed_mlp(step: StepWriter, config: Qwen3NextConfig, x: SSAValue) -> SSAValue:
    """The experts that the config names, and the one that every token takes, gated."""
    router = Router(
        ScoreFunction.SOFTMAX,
        config.num_experts_per_tok,
        "mlp.gate",
        normalised=config.norm_topk_prob,
    )
    inner, own = config.moe_intermediate_size, config.shared_expert_intermediate_size
    routed = Experts(config.num_experts, inner, router, "mlp").emit(step, x)
    shared = gated_mlp(step, x, "mlp.shared_expert.", own)
    gate = step.linear(x, "mlp.shared_expert_gate", 1, role=WeightRole.ROUTING, hint="gate")
    gated = step.emit(OutputGateOp(shared, gate, layer=step.layer), "shared")
    return together(step, gated, routed)


def attention_of(
    step: StepWriter, batch: SSAValue, config: Qwen3NextConfig
) -> GatedAttention | None:
    """The attention of the layers that have it; None if none has."""
    if QwenMixer.ATTENTION not in config.layer_types:
        return None
    size = config.head_dim
    heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
    table = step.rope_table(batch, rotary(config.rope, config.rope_theta, config.rotated))
    eps = config.rms_norm_eps
    return GatedAttention(heads, eps, STORED_LESS, table, bias=config.attention_bias)


def delta_of(config: Qwen3NextConfig) -> GatedDelta:
    """The delta layers that the config names."""
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
    )
