"""The config of a GLM-5.3-Flash checkpoint, whose text is in a table of its own or not."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from sala_compile.runtime.common.json_text import is_list, is_object
from sala_compile.sala_ir.field_rules import USED, FieldRule, FieldRules, only
from sala_compile.sala_ir.frontends.kit.config import fill_from
from sala_compile.sala_ir.frontends.kit.decoder import PAGE_TOKENS
from sala_compile.sala_ir.frontends.kit.fields import (
    Cardinal,
    Count,
    HeadDim,
    Heads,
    Positive,
    Refuse,
    config_error,
    layer_count,
)
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.latent import fill_latent
from sala_compile.sala_ir.frontends.kit.nested import NESTED_FIELDS, placed, text_fields
from sala_compile.sala_ir.frontends.kit.pooled_indexer import FULL, SHARED, indexer_kinds
from sala_compile.sala_ir.frontends.kit.routed_latent import (
    ROUTED_FIELDS,
    RoutedConfig,
    fill_routed,
    is_list_of,
)


class GlmMixer(StrEnum):
    """The kind of a layer."""

    ATTENTION = "indexed_attention"
    DELTA = "linear_attention"


_OTHER_NAME = "full_attention"
"""Some configs call indexed attention so."""
_LINEAR = {
    "linear_head_dim": "head_dim",
    "linear_num_heads": "num_heads",
    "linear_conv_kernel_dim": "short_conv_kernel_size",
    "linear_lower_bound": "gate_lower_bound",
}
"""Fields, by their names in `linear_attn_config`, where they come first."""
_BOUND = "linear_lower_bound"
_BOUNDS = "a number from -80 to below 0, or null"
_USED = (
    *("index_topk", "index_head_dim", "index_n_heads", "index_kpool", "index_topk_pattern"),
    *("index_topk_freq", "index_skip_topk_offset", "swiglu_limit", "linear_attn_config"),
    *("hc_mult", "hc_eps", "hc_sinkhorn_iters"),
)


def _is_bound(value: Any) -> bool:
    """Whether it bounds logarithms of decays, or says that nothing does."""
    return value is False or (type(value) in (int, float) and -80 <= value < 0)


Streams = Annotated[int, Field(gt=0, le=8)]


class Glm5NextConfig(RoutedConfig):
    """Everything that inference reads; nothing is rotated."""

    FAMILY: ClassVar[str] = "glm5_next"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **ROUTED_FIELDS,
        **NESTED_FIELDS,
        **dict.fromkeys((*_USED, *_LINEAR), USED),
        "layer_types": is_list_of(*GlmMixer, _OTHER_NAME),
        "indexer_types": is_list_of(FULL, SHARED),
        "qk_rope_head_dim": only(0),
        "index_kpool_always_select_tail": FieldRule(
            lambda value: value is True, "true: else logits depend on how a text is cut into calls"
        ),
    }

    layer_types: tuple[GlmMixer, ...]
    indexer_types: tuple[Literal["full", "shared"], ...]
    head_dim: Cardinal = 0
    qk_rope_head_dim: Cardinal = 0
    rms_norm_eps: Positive = 1e-5
    rope_theta: Positive = 10000.0
    n_shared_experts: Cardinal = 1
    routed_scaling_factor: Positive = 2.5
    swiglu_limit: Positive = 10.0
    linear_head_dim: HeadDim = 128
    linear_num_heads: Heads = 64
    linear_conv_kernel_dim: Count = 4
    linear_lower_bound: float = -5.0
    hc_mult: Streams = 4
    hc_eps: Positive = 1e-6
    hc_sinkhorn_iters: Count = 20
    index_topk: Count = 2048
    index_head_dim: HeadDim = 128
    index_n_heads: Heads = 32
    index_kpool: Count = 16

    @classmethod
    def read(cls, raw: Mapping[str, Any], file: str) -> Self:
        """As others, from one table or two; without a bound where that is null."""
        fields = text_fields(raw, file)
        if _BOUND in fields and fields[_BOUND] is None:
            fields[_BOUND] = False
        with placed(raw, file):
            return super().read(fields, file)

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """One name for each field; layers and indexers as lists, as transformers fills them in."""
        fields["qk_rope_head_dim"] = 0
        fill_latent(fields)
        fill_routed(fields, file, dense=3)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        table, layers = fields.get("linear_attn_config"), layer_count(fields)
        if is_object(table):
            fields |= {name: table[inner] for name, inner in _LINEAR.items() if inner in table}
            if fields.get(_BOUND, -5.0) in (None, False):
                fields[_BOUND] = -5.0 if table.get("safe_gate", True) else False
        bound = fields.get(_BOUND, -5.0)
        if not _is_bound(bound):
            raise config_error(file, _BOUND, bound, _BOUNDS, "correct the field")
        fields[_BOUND] = float(bound)
        if is_list(kinds := fields.get("layer_types")):
            kinds = [GlmMixer.ATTENTION if kind == _OTHER_NAME else kind for kind in kinds]
            fields["layer_types"] = tuple(map(GlmMixer, kinds))
        elif layers is not None:
            fields["layer_types"] = tuple(
                GlmMixer.DELTA if layer % 4 != 3 else GlmMixer.ATTENTION for layer in range(layers)
            )
        if is_list(kinds := fields.get("indexer_types")):
            fields["indexer_types"] = tuple(kinds)
        elif layers is not None:
            fields["indexer_types"] = indexer_kinds(fields, layers)

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        self.check_layers("layer_types", self.layer_types, refuse)
        self.check_layers("indexer_types", self.indexer_types, refuse)
        super().check(refuse)
        if self.q_lora_rank is None:
            raise refuse("q_lora_rank", None, "a rank", "indexers read latents of queries")
        if self.linear_conv_kernel_dim < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("linear_conv_kernel_dim", self.linear_conv_kernel_dim, expected, fix)
        if self.index_head_dim % 2:
            fix = "odd keys of indexers are not supported"
            raise refuse("index_head_dim", self.index_head_dim, "an even number", fix)
        if PAGE_TOKENS % self.index_kpool:
            expected, fix = f"a divisor of {PAGE_TOKENS}", "other pools are not supported"
            raise refuse("index_kpool", self.index_kpool, expected, fix)
        if self.index_topk % self.index_kpool:
            expected = f"a multiple of index_kpool, {self.index_kpool}"
            raise refuse("index_topk", self.index_topk, expected, "correct the field")
        for layer, (mixer, kind) in enumerate(
            zip(self.layer_types, self.indexer_types, strict=True)
        ):
            if mixer is GlmMixer.ATTENTION and kind == SHARED and not self.has_indexer(layer - 1):
                expected = f"a layer of indexed attention with a full indexer as layer {layer - 1}"
                raise refuse(f"indexer_types[{layer}]", kind, expected, "correct the list")

    def has_indexer(self, layer: int) -> bool:
        """Whether a layer chooses pools itself."""
        is_full = layer >= 0 and self.indexer_types[layer] == FULL
        return is_full and self.layer_types[layer] is GlmMixer.ATTENTION

    def notes(self, raw: Mapping[str, Any], file: str) -> tuple[str, ...]:
        """Sentences on unknown fields of either table."""
        return super().notes(text_fields(raw, file), file)
