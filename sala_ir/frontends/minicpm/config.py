"""The config of a MiniCPM checkpoint: names and defaults as in the publisher's own class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from sala_compile.runtime.common.json_text import is_object
from sala_compile.sala_ir.dialect import WeightRole
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules
from sala_compile.sala_ir.frontends.kit.block_sparse import SparseConfig, query_key_role
from sala_compile.sala_ir.frontends.kit.dense import DenseConfig
from sala_compile.sala_ir.frontends.kit.fields import Positive, Real, Refuse, config_error
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.rope_config import Rope

_TABLES = ("rope_scaling", "rope_parameters")


class MiniCPMConfig(DenseConfig):
    """A decoder with scales; with a `sparse_config` its layers select blocks."""

    FAMILY: ClassVar[str] = "minicpm"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **dict.fromkeys(("scale_emb", "scale_depth", "dim_model_base", "sparse_config"), USED),
        "mup_denominator": NO_EFFECT,  # of its drafting models
    }
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "longrope")

    tie_word_embeddings: bool = True
    scale_emb: Real = 1.0
    scale_depth: Real = 1.0
    dim_model_base: Positive = 1.0
    sparse_config: SparseConfig | None = None

    @classmethod
    def read(cls, raw: Mapping[str, Any], file: str) -> Self:
        """As other configs; some published ones name the class alone."""
        named = {} if raw.get("model_type") is not None else {"model_type": cls.FAMILY}
        return super().read({**raw, **named}, file)

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Heads share the hidden size; LongRoPE has a factor and a rule of its own."""
        _check_head_dim(fields, file)
        super().fill(fields, file)
        rope = fields["rope"]
        if rope.rope_type == "longrope":
            for place in _TABLES:
                _check_attention_factor(fields.get(place), place, file)
            trained = fields.get("max_position_embeddings")
            if type(trained) is not int or trained < 2:
                expected = "2 or more, which LongRoPE scales by"
                name, fix = "max_position_embeddings", "add the value that the model has"
                raise config_error(file, name, trained, expected, fix)
            fields["rope"] = long_rope(rope, trained)

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        super().check(refuse)
        if self.sparse_config is not None:
            self.sparse_config.check(refuse)

    @property
    def query_key_role(self) -> WeightRole:
        """Of layers that select blocks, whatever mode is requested."""
        return query_key_role(self.sparse_config)

    @property
    def residual_scale(self) -> float:
        """Factor of every branch that joins the residual stream."""
        return self.scale_depth / math.sqrt(self.num_hidden_layers)

    @property
    def logit_scale(self) -> float:
        """Factor between the last norm and the head."""
        return self.dim_model_base / self.hidden_size


def long_rope(rope: Rope, trained: int) -> Rope:
    """The scaling as the publisher's class has it, for a model of m = `trained` positions.

    Cosines and sines are multiplied by sqrt(1 + ln(m / o) / ln(o)), o the original length; any
    `factor` is not read. The class keeps a table of m positions, made of the long factors if m is
    above o, so that such a model has no use for the short ones.
    """
    original = max(rope.original_max_position_embeddings, 2)  # less than 2 is refused later
    is_always_long = trained > original
    return rope.model_copy(
        update={
            "factor": 1.0,
            "attention_factor": math.sqrt(1 + math.log(trained / original) / math.log(original)),
            "short_factor": rope.long_factor if is_always_long else rope.short_factor,
        }
    )


def _check_head_dim(fields: Mapping[str, Any], file: str) -> None:
    """The publisher's class takes hidden_size / num_attention_heads, whatever else is written."""
    hidden, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
    if type(hidden) is not int or type(heads) is not int or heads < 1:
        return  # told by the validation
    if hidden % heads:
        expected, fix = f"a divisor of hidden_size, {hidden}", "correct the head count"
        raise config_error(file, "num_attention_heads", heads, expected, fix)
    size = fields.get("head_dim")
    if size not in (None, hidden // heads):
        expected = f"hidden_size / num_attention_heads = {hidden // heads}"
        raise config_error(file, "head_dim", size, expected, "correct or remove the field")


def _check_attention_factor(scaling: Any, place: str, file: str) -> None:
    """The publisher's class does not read it, other programs do."""
    found: Any = scaling.get("attention_factor") if is_object(scaling) else None
    if found is not None:
        expected = "null: the factor of this family follows from the two lengths"
        raise config_error(file, f"{place}.attention_factor", found, expected, "remove the field")
