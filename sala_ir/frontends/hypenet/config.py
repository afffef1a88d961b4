"""The config of a HypeNet checkpoint: names and defaults as in the publisher's own class."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, cast

from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.hypenet.query_scaling import QueryScaling, query_scaling
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig, check_heads, fill_from
from sala_compile.sala_ir.frontends.kit.fields import (
    HeadDim,
    Heads,
    Positive,
    Refuse,
    config_error,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.lightning import LightningScale, lightning_scale
from sala_compile.sala_ir.frontends.qwen2 import UNUSED_WINDOW


class HypeNetMixer(StrEnum):
    """The kind of a layer, in the spelling of the published configs."""

    ATTENTION = "attn"
    LIGHTNING = "lightning-attn"


_MIXERS = {mixer.value: mixer for mixer in HypeNetMixer} | {
    "lightning_attn": HypeNetMixer.LIGHTNING
}

_USED = (
    *("mixer_types", "attn_use_rope", "attn_use_output_gate", "attn_logits_scaling"),
    *("lightning_nh", "lightning_nkv", "lightning_head_dim", "lightning_scale"),
    *("lightning_use_rope", "lightning_use_qk_norm", "lightning_use_output_norm"),
    *("lightning_use_output_gate",),
)
_OF_TRAINING = ("expand_kv_proj", "loss_fn", "fused_ce_loss", "lightning_rope_scaling")
_OF_OTHER_MIXERS = (
    "lightning_conv_size",  # of a convolution that is not used
    *("gdn_use_short_conv", "gdn_use_gate", "gdn_expand_v", "gdn_attn_mode", "gdn_activation"),
    *("gdn_fuse_cross_entropy", "gdn_nh", "gdn_nkv", "gdn_use_qk_norm", "gdn_use_rope"),
    *("mamba2_n_groups", "mamba2_expand_ratio", "mamba2_conv_kernel", "mamba2_bias"),
    *("mamba2_hidden_act", "kda_head_dim", "kda_num_heads", "kda_use_conv", "kda_use_qk_norm"),
    "kda_use_rope",
)


class HypeNetConfig(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "hypenet"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **UNUSED_WINDOW,
        **dict.fromkeys(_USED, USED),
        **dict.fromkeys((*_OF_TRAINING, *_OF_OTHER_MIXERS), NO_EFFECT),
        "lightning_use_short_conv": only(False),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    mixer_types: tuple[HypeNetMixer, ...]
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 10000.0
    tie_word_embeddings: bool = False
    attn_use_rope: bool = True
    attn_use_output_gate: bool = False
    attn_logits_scaling: QueryScaling = QueryScaling()
    lightning_nh: Heads
    lightning_nkv: Heads
    lightning_head_dim: HeadDim
    lightning_scale: LightningScale = LightningScale.INVERSE_ROOT
    lightning_use_rope: bool = True
    lightning_use_qk_norm: bool = False
    lightning_use_output_norm: bool = False
    lightning_use_output_gate: bool = False

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Mixers and scales as values of their types; the Lightning heads as those of attention.

        The class has 128 for a head_dim that is absent, others hidden_size / num_attention_heads:
        it is not guessed.
        """
        fill_from(fields, num_key_value_heads="num_attention_heads")
        fill_from(
            fields,
            lightning_nh="num_attention_heads",
            lightning_nkv="num_key_value_heads",
            lightning_head_dim="head_dim",
        )
        if "lightning_scale" in fields:
            fields["lightning_scale"] = lightning_scale(fields["lightning_scale"], file)
        if "attn_logits_scaling" in fields:
            fields["attn_logits_scaling"] = query_scaling(fields["attn_logits_scaling"], file)
        mixers = fields.get("mixer_types", [])
        if isinstance(mixers, list):
            given = cast(list[Any], mixers) or ["attn"] * _count(fields.get("num_hidden_layers"))
            fields["mixer_types"] = tuple(_mixer(item, n, file) for n, item in enumerate(given))

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        found, layers = len(self.mixer_types), self.num_hidden_layers
        if found != layers:
            expected, fix = f"one entry for each of the {layers} layers", "correct the list"
            raise refuse("mixer_types", f"a list of {found}", expected, fix)
        super().check(refuse)
        check_heads(self, refuse, ("lightning_nh", "lightning_nkv", "lightning_head_dim"))
        if self.lightning_head_dim != self.head_dim and HypeNetMixer.LIGHTNING in self.mixer_types:
            expected, fix = (
                f"head_dim, {self.head_dim}",
                "the model's own code has one rotary table",
            )
            raise refuse("lightning_head_dim", self.lightning_head_dim, expected, fix)

    def notes(self, raw: Mapping[str, Any], file: str) -> tuple[str, ...]:
        """Unknown fields, and whether queries of attention are scaled by their position."""
        notes, scaling = super().notes(raw, file), self.attn_logits_scaling
        if HypeNetMixer.ATTENTION not in self.mixer_types:
            return notes
        if scaling == QueryScaling():
            return (
                *notes,
                f"attn_logits_scaling of {file} is null: queries of attention are not scaled by "
                'their position. For long texts the publisher writes "hype 500" (2B), "hype 600" '
                '(5B) or "hype 900" (9B) there',
            )
        if not scaling.offset:
            return (*notes, f"queries of attention are multiplied by {scaling.factor} ({file})")
        return (
            *notes,
            f"queries of attention are scaled by their position, log({scaling.offset:g}) ({file})",
        )


def _count(layers: Any) -> int:
    """As many layers as a valid config has at most; others are told by the validation."""
    return min(max(layers, 0), 1024) if type(layers) is int else 0


def _mixer(spelling: Any, layer: int, file: str) -> HypeNetMixer:
    found = _MIXERS.get(spelling) if isinstance(spelling, str) else None
    if found is None:
        expected = "one of " + ", ".join(f'"{name}"' for name in _MIXERS)
        fix = f"layer {layer} is of a kind that this compiler does not know"
        raise config_error(file, f"mixer_types[{layer}]", spelling, expected, fix)
    return found
