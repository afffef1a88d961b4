"""Llama: grouped-query attention, rotary embeddings (also scaled), gated MLP."""

from typing import ClassVar

from sala_compile.sala_ir.field_rules import USED, FieldRules
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig, DenseFrontend
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON


class LlamaConfig(DenseConfig):
    """Fields and defaults of transformers' LlamaConfig."""

    FAMILY: ClassVar[str] = "llama"
    FIELDS: ClassVar[FieldRules] = {**COMMON, "mlp_bias": USED}


FRONTEND = DenseFrontend(LlamaConfig)
