"""The config of a Qwen4-Exp checkpoint: names and defaults of transformers' own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field

from sala_compile.runtime.common.json_text import is_object
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, check_fields, only
from sala_compile.sala_ir.frontends.kit.fields import (
    Count,
    HeadDim,
    Heads,
    Positive,
    Refuse,
    config_error,
)
from sala_compile.sala_ir.frontends.kit.mean_indexer import MeanIndexer
from sala_compile.sala_ir.frontends.kit.nested import NESTED_FIELDS, TEXT, placed, text_fields
from sala_compile.sala_ir.frontends.kit.ngrams import Ngrams
from sala_compile.sala_ir.frontends.kit.routed_latent import is_list_of
from sala_compile.sala_ir.frontends.qwen3_next.config import Qwen3NextConfig, QwenMixer

INDEXED = "indexed_attention"
"""Another name of the layers that attend."""
STORED_LESS = 1.0
"""What the weights of norms are stored less of."""
_USED = (
    *("output_gate_type", "hc_count", "hc_lowrank", "ple_layer_ids", "ple_embed_dim"),
    *("ple_conv_kernel_size", "ngram_size", "heads_per_ngram", "ngram_vocab_size_base", "seed"),
    *("split_ngram_parts", "make_ngram_vocab_size_divisible_by", "indexer_n_heads"),
    *("indexer_kv_heads", "indexer_head_dim", "indexer_budget", "indexer_compress_ratio"),
)


class Qwen4ExpConfig(Qwen3NextConfig):
    """Everything that inference reads, of which much is that of Qwen3-Next."""

    FAMILY: ClassVar[str] = "qwen4_exp_text"
    FIELDS: ClassVar[FieldRules] = {
        **Qwen3NextConfig.FIELDS,
        **dict.fromkeys(_USED, USED),
        "number_of_conv_states": NO_EFFECT,
        "decoder_sparse_step": only(1),
        "mlp_only_layers": only([]),
        "layer_types": is_list_of(INDEXED, *QwenMixer),
    }

    partial_rotary_factor: Positive = 1.0
    num_experts: Count = 512
    output_gate_type: Literal["sigmoid", "silu"] = "silu"
    hc_count: Annotated[int, Field(gt=1, le=64)] = 4
    hc_lowrank: Count = 320
    ple_layer_ids: tuple[Count, ...] = ()
    ple_embed_dim: Count
    ple_conv_kernel_size: Annotated[int, Field(gt=1, le=64)] = 4
    ngram_size: Annotated[int, Field(gt=1, le=16)] = 3
    heads_per_ngram: Heads = 8
    ngram_vocab_size_base: Count = 20_000_000
    make_ngram_vocab_size_divisible_by: Count = 128
    seed: int = 1234
    split_ngram_parts: Annotated[int, Field(gt=0, le=1 << 16)] = 512
    indexer_n_heads: Heads | None = None
    indexer_kv_heads: Count | None = None
    indexer_head_dim: HeadDim | None = None
    indexer_budget: Count | None = None
    indexer_compress_ratio: Count | None = None

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Kinds of layers and defaults of Qwen3-Next; what is absent from fields like it."""
        fields.setdefault("num_key_value_heads", 2)
        fields.setdefault("intermediate_size", 512)  # of no layer
        if "layer_types" in fields:
            kinds = fields["layer_types"]
            fields["layer_types"] = [QwenMixer.ATTENTION if k == INDEXED else k for k in kinds]
        for name, source in (("ple_embed_dim", "hidden_size"), ("output_gate_type", "hidden_act")):
            if source in fields:
                fields.setdefault(name, fields[source])
        if isinstance(listed := fields.get("ple_layer_ids"), list):
            fields["ple_layer_ids"] = tuple(cast(list[Any], listed))
        super().fill(fields, file)

    @property
    def indexer(self) -> MeanIndexer:
        """The indexer of the layers that attend."""
        pool, budget = self.indexer_compress_ratio or 1, self.indexer_budget or 0
        heads, size = self.indexer_n_heads or 0, self.indexer_head_dim or 0
        return MeanIndexer(heads, size, budget // pool, pool, self.rms_norm_eps, STORED_LESS)

    @property
    def ngrams(self) -> Ngrams:
        """Embeddings of n-grams; of no layer where there are none."""
        return Ngrams(
            layers=tuple(number - 1 for number in sorted(set(self.ple_layer_ids))),
            order=self.ngram_size,
            heads=self.heads_per_ngram,
            columns=self.ple_embed_dim,
            base=self.ngram_vocab_size_base,
            multiple=self.make_ngram_vocab_size_divisible_by,
            shards=self.split_ngram_parts,
            seed=self.seed,
            vocabulary=self.vocab_size,
            end=self.eos_token_id[0] if self.eos_token_id else 0,
            taps=self.ple_conv_kernel_size,
        )

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        super().check(refuse)
        if QwenMixer.ATTENTION in self.layer_types:
            names = ("n_heads", "kv_heads", "head_dim", "budget", "compress_ratio")
            fields = {name: getattr(self, f"indexer_{name}") for name in names}
            self.indexer.check(refuse, fields, self.rotated)
        for layer in self.ngrams.layers:
            if layer >= len(self.layer_types) or self.layer_types[layer] is not QwenMixer.DELTA:
                expected = f'numbers, from 1 on, of layers that are "{QwenMixer.DELTA.value}"'
                raise refuse("ple_layer_ids", layer + 1, expected, "correct the list")
        if self.ple_layer_ids:
            if not self.eos_token_id:
                expected, fix = "the id after which n-grams begin anew", "correct the field"
                raise refuse("eos_token_id", None, expected, fix)
            self.ngrams.check(refuse)


class NestedConfig(Qwen4ExpConfig):
    """The config of a model that also sees, whose text has a table of its own."""

    FAMILY: ClassVar[str] = "qwen4_exp"
    FIELDS: ClassVar[FieldRules] = {
        **Qwen4ExpConfig.FIELDS,
        **NESTED_FIELDS,
        **dict.fromkeys(("vision_start_token_id", "vision_end_token_id"), NO_EFFECT),
    }

    @classmethod
    def read(cls, raw: Mapping[str, Any], file: str) -> Self:
        """Check both tables as one."""
        check_fields(raw, cls.FIELDS, file, ConfigError)
        text, kind = raw.get(TEXT), Qwen4ExpConfig.FAMILY
        if not is_object(text) or text.get("model_type", kind) != kind:
            expected = f'an object whose model_type is "{kind}"'
            raise config_error(file, TEXT, text, expected, "correct the field")
        with placed(raw, file):
            return super().read(text_fields(raw, file), file)

    def notes(self, raw: Mapping[str, Any], file: str) -> tuple[str, ...]:
        """Sentences on the config that its user should read."""
        return super().notes(text_fields(raw, file), file)
