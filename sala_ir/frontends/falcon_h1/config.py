"""The config of a Falcon-H1 checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from sala_compile.sala_ir.attention_sizes import NO_LIMIT
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig
from sala_compile.sala_ir.frontends.kit.fields import Count, Heads, Positive, Real, Refuse
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON

_USED = (
    *("embedding_multiplier", "lm_head_multiplier", "key_multiplier", "mlp_multipliers"),
    *("attention_in_multiplier", "attention_out_multiplier"),
    *("ssm_in_multiplier", "ssm_out_multiplier", "ssm_multipliers", "time_step_limit"),
    *("mamba_d_ssm", "mamba_d_state", "mamba_d_conv", "mamba_d_head", "mamba_n_heads"),
    *("mamba_n_groups", "mamba_conv_bias", "mamba_rms_norm", "mamba_norm_before_gate"),
    "mamba_expand",
)
_UNUSED = (
    *("mamba_chunk_size", "num_logits_to_keep"),  # of the arithmetic of its kernels
    *("time_step_min", "time_step_max", "time_step_floor"),  # of values before training
)
_LISTS = {"mlp_multipliers": 2, "ssm_multipliers": 5, "time_step_limit": 2}
"""Fields that are lists of so many numbers."""


class FalconH1Config(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "falcon_h1"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **dict.fromkeys(_USED, USED),
        **dict.fromkeys(_UNUSED, NO_EFFECT),
        **dict.fromkeys(("attention_bias", "projectors_bias", "mamba_proj_bias"), only(False)),
        "mamba_use_mlp": only(True),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    rms_norm_eps: Positive = 1e-5
    rope_theta: Positive = 100000.0
    tie_word_embeddings: bool = False
    embedding_multiplier: Positive = 1.0
    lm_head_multiplier: Positive = 1.0
    key_multiplier: Real = 1.0
    attention_in_multiplier: Real = 1.0
    attention_out_multiplier: Real = 1.0
    ssm_in_multiplier: Real = 1.0
    ssm_out_multiplier: Real = 1.0
    mlp_multipliers: tuple[Real, ...] = (1.0, 1.0)
    ssm_multipliers: tuple[Real, ...] = (1.0,) * 5
    time_step_limit: tuple[Real, ...] = (0.0, NO_LIMIT)
    mamba_d_ssm: Count
    mamba_d_state: Count
    mamba_d_conv: Count = 4
    mamba_d_head: Count
    mamba_n_heads: Heads
    mamba_n_groups: Heads = 1
    mamba_conv_bias: bool = True
    mamba_rms_norm: bool = False
    mamba_norm_before_gate: bool = True

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Lists as tuples, infinity as what no step reaches, and sizes that others give."""
        super().fill(fields, file)
        hidden, expand = fields.get("hidden_size"), fields.get("mamba_expand", 2)
        if type(hidden) is int and type(expand) is int:
            fields.setdefault("mamba_d_ssm", expand * hidden)
        inner, heads = fields.get("mamba_d_ssm"), fields.get("mamba_n_heads")
        is_open = fields.get("mamba_d_head", "auto") == "auto"
        if is_open and type(inner) is int and type(heads) is int and heads > 0:
            fields["mamba_d_head"] = inner // heads
        for name in _LISTS:
            if isinstance(listed := fields.get(name), list):
                fields[name] = tuple(_number(item) for item in cast(list[Any], listed))

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        super().check(refuse)
        for name, count in _LISTS.items():
            found = getattr(self, name)
            if len(found) != count:
                raise refuse(name, list(found), f"{count} numbers", "correct the list")
        least, most = self.time_step_limit
        if not 0 <= least <= most:
            fix = "the smallest step comes first"
            raise refuse("time_step_limit", [least, most], "0 <= first <= second", fix)
        heads, size, inner = self.mamba_n_heads, self.mamba_d_head, self.mamba_d_ssm
        if heads * size != inner:
            expected = f"mamba_n_heads * mamba_d_head, {heads * size}"
            raise refuse("mamba_d_ssm", inner, expected, "correct the sizes")
        if heads % self.mamba_n_groups:
            expected = f"a multiple of the {self.mamba_n_groups} groups"
            raise refuse("mamba_n_heads", heads, expected, "correct the head counts")
        if self.mamba_d_conv < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("mamba_d_conv", self.mamba_d_conv, expected, fix)


def _number(item: Any) -> Any:
    """Infinity in either spelling of transformers is what no step reaches."""
    if isinstance(item, Mapping):
        item = cast(Mapping[str, Any], item).get("__float__", item)
    return NO_LIMIT if item in ("Infinity", float("inf")) else item
