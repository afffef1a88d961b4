"""The config of a Bailing hybrid checkpoint, as published and as transformers writes it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from sala_compile.runtime.common.json_text import is_list
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.kit.config import fill_from
from sala_compile.sala_ir.frontends.kit.fields import (
    Count,
    HeadDim,
    Heads,
    Positive,
    Refuse,
    layer_count,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.latent import fill_latent
from sala_compile.sala_ir.frontends.kit.routed_latent import (
    ROUTED_FIELDS,
    RoutedConfig,
    fill_routed,
    is_list_of,
)


class BailingMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "full_attention"
    DELTA = "linear_attention"


_USED = (
    *("linear_head_dim", "linear_num_heads", "linear_conv_kernel_dim", "short_conv_kernel_size"),
    *("layer_group_size", "kda_safe_gate", "kda_lower_bound"),
)


class BailingHybridConfig(RoutedConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "bailing_hybrid"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **ROUTED_FIELDS,
        **dict.fromkeys(_USED, USED),
        **dict.fromkeys(("mtp_loss_scaling_factor", "router_dtype"), NO_EFFECT),
        "layer_types": is_list_of(*BailingMixer),
        "q_lora_rank": only(),
        "rope_interleave": only(True),
        "score_function": only("sigmoid"),
        "moe_router_enable_expert_bias": only(True),
        **dict.fromkeys(("use_bias", "use_qkv_bias"), only(False)),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    layer_types: tuple[BailingMixer, ...]
    rms_norm_eps: Positive = 1e-6
    rope_theta: Positive = 6000000.0
    n_group: Count = 8
    topk_group: Count = 4
    linear_head_dim: HeadDim
    linear_num_heads: Heads
    linear_conv_kernel_dim: Count = 4
    kda_safe_gate: bool = True
    kda_lower_bound: Annotated[float, Field(lt=0, ge=-80, allow_inf_nan=False)] = -5.0

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """One name for each field; kinds of layers from the size of their groups.

        Heads of the delta rule have the size `head_dim`, in whose place transformers writes that of
        the rotated part.
        """
        fill_from(fields, linear_head_dim="head_dim", linear_num_heads="num_attention_heads")
        fill_from(fields, linear_conv_kernel_dim="short_conv_kernel_size")
        fill_latent(fields)
        fill_routed(fields, file, dense=2)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        layers, group = layer_count(fields), fields.get("layer_group_size")
        if is_list(kinds := fields.get("layer_types")):
            fields["layer_types"] = tuple(map(BailingMixer, kinds))
        elif layers is not None and type(group) is int and group > 0:
            fields["layer_types"] = tuple(
                BailingMixer.DELTA if (layer + 1) % group else BailingMixer.ATTENTION
                for layer in range(layers)
            )

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        self.check_layers("layer_types", self.layer_types, refuse)
        super().check(refuse)
        if self.linear_conv_kernel_dim < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("linear_conv_kernel_dim", self.linear_conv_kernel_dim, expected, fix)
