"""The config of a MiniCPM-SALA checkpoint: field names as in its config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, cast

from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.kit.block_sparse import SparseConfig
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig, check_heads, fill_from
from sala_compile.sala_ir.frontends.kit.fields import (
    HeadDim,
    Heads,
    Positive,
    Real,
    Refuse,
    config_error,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.lightning import LightningScale, lightning_scale
from sala_compile.sala_ir.frontends.kit.rotary import check_rope


class MixerType(StrEnum):
    """The kind of a layer, in the spelling of the released config."""

    SPARSE = "minicpm4"
    LIGHTNING = "lightning-attn"


_MIXERS: Mapping[str, MixerType] = {
    "minicpm4": MixerType.SPARSE,
    "minicpm": MixerType.SPARSE,  # this and the next three are SGLang's
    "standard": MixerType.SPARSE,
    "attention": MixerType.SPARSE,
    "attn": MixerType.SPARSE,
    "lightning": MixerType.LIGHTNING,
    "lightning_attn": MixerType.LIGHTNING,
    "lightning-attn": MixerType.LIGHTNING,
}

FIELDS: FieldRules = {
    **COMMON,
    **dict.fromkeys(
        (
            *("mixer_types", "attn_use_rope", "attn_use_output_gate", "scale_emb", "scale_depth"),
            *("dim_model_base", "lightning_nh", "lightning_nkv", "lightning_head_dim"),
            *("lightning_scale", "lightning_use_rope", "qk_norm", "use_output_norm"),
            *("use_output_gate", "sparse_config"),
        ),
        USED,
    ),
    "mup_denominator": NO_EFFECT,  # of training
    **dict.fromkeys(("minicpm4", "lightning", "sparse_use_nope"), NO_EFFECT),  # SGLang drops them
    "lightning_layerwise_decay": only(False),
}
"""What a field may hold, as the published configuration and SGLang 0.5.23 read it."""


class MiniCPMSalaConfig(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "minicpm_sala"
    FIELDS: ClassVar[FieldRules] = FIELDS

    mixer_types: tuple[MixerType, ...]
    scale_emb: Real
    scale_depth: Real
    dim_model_base: Positive
    attn_use_rope: bool
    attn_use_output_gate: bool
    lightning_nh: Heads
    lightning_nkv: Heads
    lightning_head_dim: HeadDim
    lightning_scale: LightningScale
    lightning_use_rope: bool
    qk_norm: bool
    use_output_norm: bool
    use_output_gate: bool
    sparse_config: SparseConfig | None = None

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Mixers and scale as enums; the Lightning heads default to those of attention."""
        super().fill(fields, file)
        mixers = fields.get("mixer_types")
        if isinstance(mixers, list):
            fields["mixer_types"] = tuple(
                _mixer(item, n, file) for n, item in enumerate(cast(list[Any], mixers))
            )
        if "lightning_scale" in fields:
            fields["lightning_scale"] = lightning_scale(fields["lightning_scale"], file)
        fill_from(
            fields,
            lightning_nh="num_attention_heads",
            lightning_nkv="num_key_value_heads",
            lightning_head_dim="head_dim",
        )

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        found, expected = len(self.mixer_types), self.num_hidden_layers
        if found != expected:
            raise refuse(
                "mixer_types",
                f"a list of {found}",
                f"one entry for each of the {expected} layers (num_hidden_layers)",
                "correct num_hidden_layers or mixer_types",
            )
        super().check(refuse)
        check_heads(self, refuse, ("lightning_nh", "lightning_nkv", "lightning_head_dim"))
        check_rope(self.rope, self.rope_theta, self.lightning_head_dim, refuse)
        if self.sparse_config is not None and MixerType.SPARSE in self.mixer_types:
            self.sparse_config.check(refuse)

    def notes(self, raw: Mapping[str, Any], file: str) -> tuple[str, ...]:
        """Unknown fields, and attention that is dense."""
        notes = super().notes(raw, file)
        if self.sparse_config is None and MixerType.SPARSE in self.mixer_types:
            notes += (f"{file} has no sparse_config: its layers of attention read all of the past",)
        return notes

    @property
    def residual_scale(self) -> float:
        """Factor of every branch that joins the residual stream."""
        return self.scale_depth / math.sqrt(self.num_hidden_layers)

    @property
    def logit_scale(self) -> float:
        """Factor between the last norm and the head."""
        return self.dim_model_base / self.hidden_size


def _mixer(spelling: Any, layer: int, file: str) -> MixerType:
    found = _MIXERS.get(spelling) if isinstance(spelling, str) else None
    if found is None:
        known = ", ".join(f'"{name}"' for name in _MIXERS)
        fix = f"layer {layer} is of a kind that this compiler does not know"
        raise config_error(file, f"mixer_types[{layer}]", spelling, f"one of {known}", fix)
    return found
