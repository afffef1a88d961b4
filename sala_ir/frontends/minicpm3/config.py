"""The config of a MiniCPM3 checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from sala_compile.sala_ir.field_rules import USED, FieldRules
from sala_compile.sala_ir.frontends.kit.config import fill_from
from sala_compile.sala_ir.frontends.kit.fields import Positive, Real
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.latent import LATENT_FIELDS, LatentConfig, fill_latent


class MiniCPM3Config(LatentConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "minicpm3"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **LATENT_FIELDS,
        **dict.fromkeys(("scale_emb", "scale_depth", "dim_model_base"), USED),
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn", "longrope")

    rope_theta: Positive = 10000.0
    tie_word_embeddings: bool = True
    scale_emb: Real
    scale_depth: Real
    dim_model_base: Positive

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Without a size of their own, values share the hidden size."""
        fill_latent(fields)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        hidden, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
        if type(hidden) is int and type(heads) is int and heads > 0 and hidden % heads == 0:
            fields.setdefault("v_head_dim", hidden // heads)

    @property
    def residual_scale(self) -> float:
        """Factor of every branch that joins the residual stream."""
        return self.scale_depth / math.sqrt(self.num_hidden_layers)

    @property
    def logit_scale(self) -> float:
        """Factor between the last norm and the head."""
        return self.dim_model_base / self.hidden_size
