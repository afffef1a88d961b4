"""The config of a MiniMax-Text-01 checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, cast

from sala_compile.runtime.common.json_text import is_list
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRule, FieldRules, only
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig
from sala_compile.sala_ir.frontends.kit.experts import check_router
from sala_compile.sala_ir.frontends.kit.fields import Count, Positive, Real, Refuse, layer_count
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.layer_kinds import check_kinds, fill_kinds, kinds_rule


class MiniMaxMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "full_attention"
    LIGHTNING = "linear_attention"


_FACTORS = tuple(
    f"{part}_{name}_factor"
    for part in ("linear_attn", "full_attn", "mlp")
    for name in ("alpha", "beta")
)
_OLD_FACTORS = {
    f"layernorm_{old}_{name}": f"{new}_{name}_factor"
    for old, new in (
        ("linear_attention", "linear_attn"),
        ("full_attention", "full_attn"),
        ("mlp", "mlp"),
    )
    for name in ("alpha", "beta")
}
"""The names in the published config."""
_OLD = (*_OLD_FACTORS, "attn_type_list")


def _is_types(value: Any) -> bool:
    return is_list(value) and all(item in (0, 1) for item in value)


class MiniMaxConfig(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "minimax"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **dict.fromkeys((*_FACTORS, *_OLD, "num_local_experts", "num_experts_per_tok"), USED),
        # numerics of its kernels, training, and what transformers' class does not read
        **dict.fromkeys(("block_size", "output_router_logits", "router_jitter_noise"), NO_EFFECT),
        **dict.fromkeys(("rotary_dim", "shared_moe_mode"), NO_EFFECT),
        "attn_type_list": FieldRule(_is_types, "a list of 0 and 1"),
        "attention_bias": only(False),
        "postnorm": only(True),
        "shared_intermediate_size": only(0),
        "layer_types": kinds_rule(MiniMaxMixer),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    rms_norm_eps: Positive = 1e-5
    rope_theta: Positive = 1000000.0
    tie_word_embeddings: bool = False
    layer_types: tuple[MiniMaxMixer, ...]
    num_local_experts: Count = 8
    num_experts_per_tok: Count = 2
    linear_attn_alpha_factor: Real = 1.0
    linear_attn_beta_factor: Real = 1.0
    full_attn_alpha_factor: Real = 1.0
    full_attn_beta_factor: Real = 1.0
    mlp_alpha_factor: Real = 1.0
    mlp_beta_factor: Real = 1.0

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Kinds of layers as values of their type; in turns, attention first, where none are."""
        super().fill(fields, file)
        for old, new in _OLD_FACTORS.items():
            if old in fields:
                fields.setdefault(new, fields[old])
        layers, types = layer_count(fields), fields.get("attn_type_list")
        fill_kinds(fields, MiniMaxMixer)
        if "layer_types" in fields:
            return
        if isinstance(types, list):
            kinds = (MiniMaxMixer.LIGHTNING, MiniMaxMixer.ATTENTION)
            fields["layer_types"] = tuple(kinds[item] for item in cast(list[int], types))
        elif layers is not None:
            fields["layer_types"] = tuple(
                MiniMaxMixer.LIGHTNING if layer % 2 else MiniMaxMixer.ATTENTION
                for layer in range(layers)
            )

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        check_kinds(self.layer_types, self.num_hidden_layers, refuse)
        super().check(refuse)
        count = ("num_local_experts", self.num_local_experts)
        check_router(refuse, count, ("num_experts_per_tok", self.num_experts_per_tok), 1, 1)
