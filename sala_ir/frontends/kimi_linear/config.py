"""The config of a Kimi Linear checkpoint, as published and as transformers writes it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sala_compile.runtime.common.json_text import is_list, is_object
from sala_compile.sala_ir.field_rules import USED, FieldRules, only
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


class KimiMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "full_attention"
    DELTA = "linear_attention"


_LINEAR = {
    "linear_head_dim": "head_dim",
    "linear_num_heads": "num_heads",
    "linear_conv_kernel_dim": "short_conv_kernel_size",
}
"""Fields, by their names in `linear_attn_config`."""


class KimiLinearConfig(RoutedConfig):
    """Everything that inference reads; nothing is rotated."""

    FAMILY: ClassVar[str] = "kimi_linear"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **ROUTED_FIELDS,
        **dict.fromkeys((*_LINEAR, "linear_attn_config"), USED),
        "layer_types": is_list_of(*KimiMixer),
        "mla_use_nope": only(True),
        "moe_layer_freq": only(1),
        "moe_router_activation_func": only("sigmoid"),
        "use_grouped_topk": only(True),
    }

    layer_types: tuple[KimiMixer, ...]
    rms_norm_eps: Positive = 1e-5
    rope_theta: Positive = 10000.0
    linear_head_dim: HeadDim
    linear_num_heads: Heads
    linear_conv_kernel_dim: Count = 4

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """One name for each field; layers and sizes of the table as fields of their own."""
        fill_latent(fields)
        fill_routed(fields, file, dense=1)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        table, layers = fields.get("linear_attn_config"), layer_count(fields)
        if is_object(table):
            for name, inner in _LINEAR.items():
                if inner in table:
                    fields.setdefault(name, table[inner])
            full = table.get("full_attn_layers")
            if is_list(full) and layers is not None:
                full = {number for number in full if type(number) is int}
                kinds = [
                    KimiMixer.ATTENTION if layer + 1 in full else KimiMixer.DELTA  # from 1
                    for layer in range(layers)
                ]
                fields.setdefault("layer_types", kinds)
        if is_list(kinds := fields.get("layer_types")):
            fields["layer_types"] = tuple(map(KimiMixer, kinds))

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        self.check_layers("layer_types", self.layer_types, refuse)
        super().check(refuse)
        if self.linear_conv_kernel_dim < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("linear_conv_kernel_dim", self.linear_conv_kernel_dim, expected, fix)
