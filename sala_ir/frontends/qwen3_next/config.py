"""The config of a Qwen3-Next checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, cast

from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig, fill_from
from sala_compile.sala_ir.frontends.kit.experts import check_router
from sala_compile.sala_ir.frontends.kit.fields import (
    Cardinal,
    Count,
    HeadDim,
    Heads,
    Positive,
    Refuse,
    layer_count,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.layer_kinds import check_kinds, fill_kinds, kinds_rule


class QwenMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "full_attention"
    DELTA = "linear_attention"


_USED = (
    *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim"),
    *("linear_value_head_dim", "linear_conv_kernel_dim", "partial_rotary_factor"),
    *("full_attention_interval", "decoder_sparse_step", "mlp_only_layers", "num_experts"),
    *("num_experts_per_tok", "norm_topk_prob", "moe_intermediate_size"),
    "shared_expert_intermediate_size",
)


class Qwen3NextConfig(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "qwen3_next"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **dict.fromkeys(_USED, USED),
        "output_router_logits": NO_EFFECT,
        "mlp_bias": only(False),
        "layer_types": kinds_rule(QwenMixer),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")
    PARTIAL_ROTARY: ClassVar[bool] = True

    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    partial_rotary_factor: Positive = 0.25
    tie_word_embeddings: bool = False
    head_dim: HeadDim = 256
    layer_types: tuple[QwenMixer, ...]
    linear_num_key_heads: Heads = 16
    linear_num_value_heads: Heads = 32
    linear_key_head_dim: HeadDim = 128
    linear_value_head_dim: HeadDim = 128
    linear_conv_kernel_dim: Count = 4
    decoder_sparse_step: Count = 1
    mlp_only_layers: tuple[Cardinal, ...] = ()
    num_experts: Cardinal = 512
    num_experts_per_tok: Count = 10
    norm_topk_prob: bool = True
    moe_intermediate_size: Count = 512
    shared_expert_intermediate_size: Count = 512

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Kinds of layers as values of their type, from the interval where they are not listed."""
        fill_from(fields, num_key_value_heads="num_attention_heads")
        layers, interval = layer_count(fields), fields.get("full_attention_interval", 4)
        fill_kinds(fields, QwenMixer)
        is_open = "layer_types" not in fields and type(interval) is int and interval > 0
        if is_open and layers is not None:
            fields["layer_types"] = tuple(
                QwenMixer.DELTA if (layer + 1) % interval else QwenMixer.ATTENTION
                for layer in range(layers)
            )
        if isinstance(listed := fields.get("mlp_only_layers"), list):
            fields["mlp_only_layers"] = tuple(cast(list[Any], listed))

    @property
    def rotated(self) -> int:
        """Dimensions of a head that are rotated."""
        return int(self.head_dim * self.partial_rotary_factor)

    def has_experts(self, layer: int) -> bool:
        """Whether the MLP of a layer is a mixture of experts."""
        sparse = (layer + 1) % self.decoder_sparse_step == 0
        return sparse and layer not in self.mlp_only_layers and self.num_experts > 0

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        check_kinds(self.layer_types, self.num_hidden_layers, refuse)
        if not 0 < self.rotated <= self.head_dim or self.rotated % 2:
            expected = f"a factor of head_dim, {self.head_dim}, that gives an even number"
            raise refuse(
                "partial_rotary_factor", self.partial_rotary_factor, expected, "correct it"
            )
        super().check(refuse)
        heads, key_heads = self.linear_num_value_heads, self.linear_num_key_heads
        if heads % key_heads:
            expected = f"a multiple of the {key_heads} key heads"
            raise refuse("linear_num_value_heads", heads, expected, "correct the head counts")
        if self.linear_conv_kernel_dim < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("linear_conv_kernel_dim", self.linear_conv_kernel_dim, expected, fix)
        if any(map(self.has_experts, range(self.num_hidden_layers))):
            count, chosen = ("num_experts", self.num_experts), self.num_experts_per_tok
            check_router(refuse, count, ("num_experts_per_tok", chosen), 1, 1)
