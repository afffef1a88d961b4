"""The config of a GLM-5 checkpoint, as published and as transformers writes it."""

from __future__ import annotations

from typing import Any, ClassVar

from sala_compile.runtime.common.json_text import is_list
from sala_compile.sala_ir.field_rules import FieldRule, FieldRules, only
from sala_compile.sala_ir.frontends.kit.fields import Heads, Positive
from sala_compile.sala_ir.frontends.kit.indexed_latent import (
    FULL,
    INDEXED_FIELDS,
    SHARED,
    IndexedLatentConfig,
)
from sala_compile.sala_ir.frontends.kit.routed_latent import is_list_of

LETTERS = {"F": FULL, "S": SHARED}
"""Kinds of indexers as `index_topk_pattern` names them."""


def _is_pattern(value: Any) -> bool:
    return value is None or is_list(value) or (isinstance(value, str) and set(value) <= {*LETTERS})


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


class GlmMoeDsaConfig(IndexedLatentConfig):
    """Everything that inference reads; indexers rotate neighbours, and some layers have none."""

    FAMILY: ClassVar[str] = "glm_moe_dsa"
    FIELDS: ClassVar[FieldRules] = {
        **INDEXED_FIELDS,
        "indexer_types": is_list_of(FULL, SHARED),
        "indexer_rope_interleave": only(True),
        "index_topk_pattern": FieldRule(_is_pattern, 'a text of "F" and "S", or a list of kinds'),
        **dict.fromkeys(
            ("index_topk_freq", "index_skip_topk_offset"), FieldRule(_is_whole, "an integer")
        ),
    }
    INTERLEAVED: ClassVar[bool] = True

    rms_norm_eps: Positive = 1e-5
    index_n_heads: Heads = 32

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Kinds of indexers: listed, from a pattern, or every so many layers after some.

        As transformers: the list counts before the pattern, the pattern before the numbers.
        """
        if not is_list(fields.get("indexer_types")):
            fields["indexer_types"] = _indexer_types(fields)
        fields["indexer_types"] = tuple(fields["indexer_types"])
        super().fill(fields, file)


def _indexer_types(fields: dict[str, Any]) -> list[Any]:
    pattern, layers = fields.get("index_topk_pattern"), fields.get("num_hidden_layers")
    if isinstance(pattern, str):
        return [LETTERS[letter] for letter in pattern]
    if is_list(pattern):
        return pattern
    if type(layers) is not int:
        return []
    every, offset = fields.get("index_topk_freq", 1), fields.get("index_skip_topk_offset", 2)
    return [
        SHARED if max(layer - offset + 1, 0) % max(every, 1) else FULL for layer in range(layers)
    ]
