"""Decoders of one kind of layer with softmax attention: Llama, and what is close to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.dialect import KvCacheType, WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS, Decoder, softmax_attention
from sala_compile.sala_ir.frontends.kit.fields import Positive
from sala_compile.sala_ir.frontends.kit.frontend import Frontend
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer


class DenseConfig(DecoderConfig):
    """A decoder of grouped-query softmax attention with rotary embeddings over whole heads."""

    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope", "frequencies")

    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    tie_word_embeddings: bool = False

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self.attention_bias

    @property
    def output_bias(self) -> bool:
        """Whether the output projection of attention has a bias."""
        return self.attention_bias

    @property
    def qk_norm(self) -> bool:
        """Whether every head of queries and keys is normalised before it is rotated."""
        return False

    @property
    def query_key_role(self) -> WeightRole:
        """What the projections of queries and keys are for."""
        return WeightRole.PROJECTION


Config = TypeVar("Config", bound=DenseConfig)


class DenseFrontend(Frontend[Config]):
    """Captures a decoder that has the same mixer in every layer; by default it is dense."""

    def layer_states(self, config: Config, attention: AttentionMode) -> Mapping[str, StateType]:
        """The states of a layer by kind: keys and values."""
        kv_heads = config.num_key_value_heads
        return {"kv_cache": KvCacheType(kv_heads, PAGE_TOKENS, config.head_dim, f32)}

    def decoder(self, step: StepWriter, config: Config) -> Decoder:
        """The skeleton around the mixers, without scales."""
        return Decoder(step, config)

    def attend(
        self,
        step: StepWriter,
        batch: SSAValue,
        qkv: tuple[SSAValue, SSAValue, SSAValue],
        unrotated: tuple[SSAValue, SSAValue],
        heads: Heads,
        config: Config,
        attention: AttentionMode,
    ) -> SSAValue:
        """Attention to all of the past; `unrotated` are queries and keys before the rotation."""
        return softmax_attention(step, batch, qkv, heads)

    def states(self, config: Config, attention: AttentionMode) -> Mapping[str, StateType]:
        """Those of every layer."""
        return states_by_layer([self.layer_states(config, attention)] * config.num_hidden_layers)

    def emit(
        self, step: StepWriter, batch: SSAValue, config: Config, attention: AttentionMode
    ) -> SSAValue:
        """Projections, norms if the config has them, rotation, attention and output projection."""
        size = config.head_dim
        heads = Heads(config.num_attention_heads, config.num_key_value_heads, size, size**-0.5)
        table = step.rope_table(batch, rotary(config.rope, config.rope_theta, size))
        role = config.query_key_role

        def mixer(x: SSAValue) -> SSAValue:
            q, k, v = (
                step.linear(x, f"self_attn.{name}_proj", rows, bias=config.qkv_bias, role=use)
                for name, rows, use in (
                    ("q", heads.columns, role),
                    ("k", heads.kv_columns, role),
                    ("v", heads.kv_columns, WeightRole.PROJECTION),
                )
            )
            if config.qk_norm:
                q, k = (
                    step.norm(part, f"self_attn.{name}_norm", config.rms_norm_eps, size, hint=name)
                    for name, part in (("q", q), ("k", k))
                )
            qkv = step.rotate(q, table, size), step.rotate(k, table, size), v
            mixed = self.attend(step, batch, qkv, (q, k), heads, config, attention)
            bias, columns = config.output_bias, config.hidden_size
            return step.linear(mixed, "self_attn.o_proj", columns, bias=bias, hint="mixed")

        return self.decoder(step, config).emit(mixer)
