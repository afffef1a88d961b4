"""The config of a DeepSeek-V3.2 checkpoint, as published and as transformers writes it."""

from __future__ import annotations

from typing import ClassVar

from sala_compile.sala_ir.field_rules import FieldRules, only
from sala_compile.sala_ir.frontends.kit.fields import Count, Heads, Positive
from sala_compile.sala_ir.frontends.kit.indexed_latent import (
    FULL,
    INDEXED_FIELDS,
    IndexedLatentConfig,
)
from sala_compile.sala_ir.frontends.kit.routed_latent import is_list_of


class DeepseekV32Config(IndexedLatentConfig):
    """Everything that inference reads; an indexer in every layer rotates halves."""

    FAMILY: ClassVar[str] = "deepseek_v32"
    FIELDS: ClassVar[FieldRules] = {
        **INDEXED_FIELDS,
        "indexer_types": is_list_of(FULL),
        "indexer_rope_interleave": only(False),
    }
    INTERLEAVED: ClassVar[bool] = False

    rms_norm_eps: Positive = 1e-6
    index_n_heads: Heads = 64
    n_group: Count = 8
    topk_group: Count = 4
