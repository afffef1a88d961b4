"""From a config to the captured `@step`: one op for each equation, everything f32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    KvCacheType,
    LightningAttentionOp,
    RecurrentStateType,
    ScoreFunction,
    SiluOp,
    SliceOp,
    WeightRole,
    columns_of,
)
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.decoder import (
    PAGE_TOKENS,
    Decoder,
    LayerNorms,
    softmax_attention,
)
from sala_compile.sala_ir.frontends.kit.experts import Experts, Router
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.lightning import layer_slopes
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.minimax.config import MiniMaxConfig, MiniMaxMixer

OUTPUT_NORM_EPS = 1e-6
"""Of the norm after Lightning attention, whatever the config says."""
CONSTANTS = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")
"""Last names of tensors that the slopes imply."""


class MiniMaxFrontend(Frontend[MiniMaxConfig]):
    """Layers of Lightning and of softmax attention, with experts in all of them."""

    def states(self, config: MiniMaxConfig, attention: AttentionMode) -> Mapping[str, StateType]:
        """A recurrent state, or keys and values."""
        size, heads = config.head_dim, config.num_attention_heads
        cache = KvCacheType(config.num_key_value_heads, PAGE_TOKENS, size, f32)
        kinds: dict[MiniMaxMixer, Mapping[str, StateType]] = {
            MiniMaxMixer.LIGHTNING: {"recurrent_state": RecurrentStateType(heads, size, size, f32)},
            MiniMaxMixer.ATTENTION: {"kv_cache": cache},
        }
        return states_by_layer(kinds[mixer] for mixer in config.layer_types)

    def is_unread(self, name: str, config: MiniMaxConfig) -> bool:
        """Constants that follow from the config are not read."""
        return name.rpartition(".")[2] in CONSTANTS

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: MiniMaxConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder whose stream goes on from its norms, with experts."""
        table = None
        if MiniMaxMixer.ATTENTION in config.layer_types:
            frequencies = rotary(config.rope, config.rope_theta, config.head_dim)
            table = step.rope_table(batch, frequencies)
        mixers = _Mixers(step, batch, config, table)
        router = Router(ScoreFunction.SOFTMAX, config.num_experts_per_tok, "block_sparse_moe.gate")
        experts = Experts(
            config.num_local_experts,
            config.intermediate_size,
            router,
            "block_sparse_moe",
            names=("w1", "w3", "w2"),
        )
        decoder = Decoder(step, config, mlp=lambda x: experts.emit(step, x))
        return decoder.emit(mixers.emit, lambda layer: _norms(config, layer))


def _norms(config: MiniMaxConfig, layer: int) -> LayerNorms:
    own = (config.full_attn_alpha_factor, config.full_attn_beta_factor)
    if config.layer_types[layer] is MiniMaxMixer.LIGHTNING:
        own = (config.linear_attn_alpha_factor, config.linear_attn_beta_factor)
    return LayerNorms(factors=(own, (config.mlp_alpha_factor, config.mlp_beta_factor)))


@dataclass(frozen=True, slots=True)
class _Mixers:
    """Emits the mixer of the layer that is being written."""

    step: StepWriter
    batch: SSAValue
    config: MiniMaxConfig
    table: SSAValue | None

    def emit(self, x: SSAValue) -> SSAValue:
        """From the normalised rows of the stream to what the layer adds."""
        layer = self.step.layer
        assert layer is not None, "mixers stand in layers"
        is_linear = self.config.layer_types[layer] is MiniMaxMixer.LIGHTNING
        return self._lightning(x, layer) if is_linear else self._attention(x)

    def _lightning(self, x: SSAValue, layer: int) -> SSAValue:
        """Queries, keys and values through silu; the output normalised over all heads, gated."""
        step, config = self.step, self.config
        count, size = config.num_attention_heads, config.head_dim
        heads = Heads(count, count, size, 1.0)
        name = f"{step.prefix}self_attn.qkv_proj.weight"
        whole = step.weight(name, (3 * heads.columns, columns_of(x)))
        rows = [step.rows(whole, part * size, size, 3 * size) for part in range(3)]
        joined = step.emit(ConcatWeightsOp(rows, layer=layer), "qkv_rows")
        mixed = step.emit(SiluOp(step.product(x, joined, "qkv"), layer=layer), "active")
        q, k, v = (
            step.emit(SliceOp(mixed, start=start, size=heads.columns, layer=layer), hint)
            for hint, start in zip("qkv", range(0, 3 * heads.columns, heads.columns), strict=True)
        )
        op = LightningAttentionOp(
            *(q, k, v, step.state("recurrent_state"), self.batch),
            heads=heads,
            eps=config.rms_norm_eps,
            slopes=layer_slopes(count, layer, config.num_hidden_layers).tolist(),
            layer=layer,
        )
        out = step.emit(op, "mixed", "recurrent_state")
        step.update(recurrent_state=op.state_out)
        normal = step.norm(out, "self_attn.norm", OUTPUT_NORM_EPS, hint="o")
        gated = step.gate(x, normal, "self_attn.output_gate")
        return step.linear(gated, "self_attn.out_proj", columns_of(x), hint="mixed")

    def _attention(self, x: SSAValue) -> SSAValue:
        step, config, size = self.step, self.config, self.config.head_dim
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
        q, k, v = (
            step.linear(x, f"self_attn.{name}_proj", rows, role=role)
            for name, rows, role in (
                ("q", heads.columns, WeightRole.RECALL),
                ("k", heads.kv_columns, WeightRole.RECALL),
                ("v", heads.kv_columns, WeightRole.PROJECTION),
            )
        )
        qkv = step.rotate(q, self.table, size), step.rotate(k, self.table, size), v
        mixed = softmax_attention(step, self.batch, qkv, heads)
        return step.linear(mixed, "self_attn.o_proj", columns_of(x), hint="mixed")
