"""The config of an OLMo Hybrid checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig, fill_from, fill_head_dim
from sala_compile.sala_ir.frontends.kit.fields import (
    Count,
    HeadDim,
    Heads,
    Positive,
    Refuse,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.layer_kinds import check_kinds, fill_kinds, kinds_rule


class OlmoMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "full_attention"
    DELTA = "linear_attention"


_USED = (
    *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim"),
    *("linear_value_head_dim", "linear_conv_kernel_dim", "linear_allow_neg_eigval"),
)
_INITIAL = (
    *("linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max"),
    "linear_dt_init_floor",
)
"""Of the values that weights have before training."""


class OlmoHybridConfig(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "olmo_hybrid"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **dict.fromkeys(_USED, USED),
        **dict.fromkeys(_INITIAL, NO_EFFECT),
        "layer_types": kinds_rule(OlmoMixer),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    layer_types: tuple[OlmoMixer, ...]
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    rotates: bool = False
    """Whether the config gives a base of the frequencies: without one nothing is rotated."""
    tie_word_embeddings: bool = False
    linear_num_key_heads: Heads
    linear_num_value_heads: Heads
    linear_key_head_dim: HeadDim
    linear_value_head_dim: HeadDim
    linear_conv_kernel_dim: Count = 4
    linear_allow_neg_eigval: bool = True

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Kinds of layers as values of their type; delta heads as those of attention."""
        fields["rotates"] = "rope_theta" in fields
        fill_head_dim(fields)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        fill_from(
            fields,
            linear_num_key_heads="num_attention_heads",
            linear_num_value_heads="num_attention_heads",
        )
        fill_kinds(fields, OlmoMixer)

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        check_kinds(self.layer_types, self.num_hidden_layers, refuse)
        super().check(refuse)
        heads, key_heads = self.linear_num_value_heads, self.linear_num_key_heads
        if heads % key_heads:
            expected = f"a multiple of the {key_heads} key heads"
            raise refuse("linear_num_value_heads", heads, expected, "correct the head counts")
        if self.linear_conv_kernel_dim < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("linear_conv_kernel_dim", self.linear_conv_kernel_dim, expected, fix)
