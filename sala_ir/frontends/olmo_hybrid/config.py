"""The config of an OLMo Hybrid checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, cast

from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig, fill_from, fill_head_dim
from sala_compile.sala_ir.frontends.kit.fields import (
    Count,
    HeadDim,
    Heads,
    Positive,
    Refuse,
    config_error,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON


class OlmoMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "full_attention"
    DELTA = "linear_attention"


_USED = (
    *("layer_types", "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim"),
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
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    layer_types: tuple[OlmoMixer, ...]
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """None: nothing is rotated."""
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
        fill_head_dim(fields)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        fill_from(
            fields,
            linear_num_key_heads="num_attention_heads",
            linear_num_value_heads="num_attention_heads",
        )
        kinds = fields.get("layer_types")
        if isinstance(kinds, list):
            listed = enumerate(cast(list[Any], kinds))
            fields["layer_types"] = tuple(_mixer(kind, layer, file) for layer, kind in listed)

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        found, layers = len(self.layer_types), self.num_hidden_layers
        if found != layers:
            expected, fix = f"one entry for each of the {layers} layers", "correct the list"
            raise refuse("layer_types", f"a list of {found}", expected, fix)
        super().check(refuse)
        heads, key_heads = self.linear_num_value_heads, self.linear_num_key_heads
        if heads % key_heads:
            expected = f"a multiple of the {key_heads} key heads"
            raise refuse("linear_num_value_heads", heads, expected, "correct the head counts")
        if self.linear_conv_kernel_dim < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("linear_conv_kernel_dim", self.linear_conv_kernel_dim, expected, fix)


def _mixer(spelling: Any, layer: int, file: str) -> OlmoMixer:
    if isinstance(spelling, str) and spelling in set(OlmoMixer):
        return OlmoMixer(spelling)
    expected = "one of " + ", ".join(f'"{mixer.value}"' for mixer in OlmoMixer)
    fix = f"layer {layer} is of a kind that this compiler does not know"
    raise config_error(file, f"layer_types[{layer}]", spelling, expected, fix)
