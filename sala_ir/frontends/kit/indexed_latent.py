"""Latent attention to the tokens that an indexer chooses, beside experts: DeepSeek-V3.2, GLM-5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from xdsl.ir import SSAValue

from sala_compile.sala_ir.dialect import WeightRole
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRules, only
from sala_compile.sala_ir.frontends.attention_mode import AttentionMode
from sala_compile.sala_ir.frontends.kit.config import fill_from
from sala_compile.sala_ir.frontends.kit.decoder import Decoder
from sala_compile.sala_ir.frontends.kit.fields import HeadDim, Heads, Positive, Refuse
from sala_compile.sala_ir.frontends.kit.frontend import Frontend, is_after_layers
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON
from sala_compile.sala_ir.frontends.kit.latent import Chosen, LatentAttention, fill_latent
from sala_compile.sala_ir.frontends.kit.rotary import rotary
from sala_compile.sala_ir.frontends.kit.routed_latent import (
    ROUTED_FIELDS,
    RoutedConfig,
    RoutedMlp,
    fill_routed,
    is_list_of,
)
from sala_compile.sala_ir.frontends.kit.step import StepWriter, states_by_layer
from sala_compile.sala_ir.frontends.kit.token_indexer import TokenIndexer

FULL, SHARED = "full", "shared"
"""Kinds of indexers of a layer: its own, or what that of the nearest layer before chose."""
NAMES = ("gate_proj", "up_proj", "down_proj")

INDEXED_FIELDS: FieldRules = {
    **COMMON,
    **ROUTED_FIELDS,
    **dict.fromkeys(("index_topk", "index_head_dim", "index_n_heads"), USED),
    "layer_types": is_list_of("indexed_attention"),
    "rope_interleave": only(True),
    "scoring_func": only("sigmoid"),
    "topk_method": only("noaux_tc"),
    "moe_layer_freq": only(1),
    "ep_size": NO_EFFECT,
}


class IndexedLatentConfig(RoutedConfig):
    """The fields of an indexer beside those of latent attention, of which queries have a latent."""

    INTERLEAVED: ClassVar[bool]
    """Whether an indexer rotates neighbours."""
    ROPE_KINDS: ClassVar[tuple[str, ...]] = ("linear", "llama3", "yarn")

    index_topk: Annotated[int, Field(gt=0, le=2**20)] = 2048
    index_head_dim: HeadDim = 128
    index_n_heads: Heads
    indexer_types: tuple[str, ...]
    rope_theta: Positive = 10000.0

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """One name for each field; layers without a list have an indexer each."""
        fill_latent(fields)
        fill_routed(fields, file, dense=3)
        fill_from(fields, num_key_value_heads="num_attention_heads")
        layers = fields.get("num_hidden_layers")
        if type(layers) is int:
            fields.setdefault("indexer_types", (FULL,) * layers)

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        self.check_layers("indexer_types", self.indexer_types, refuse)
        super().check(refuse)
        if self.q_lora_rank is None:
            fix = "queries without a latent leave an indexer nothing to read"
            raise refuse("q_lora_rank", None, "a value", fix)
        if self.indexer_types[0] != FULL:
            expected, fix = f'"{FULL}": there is no layer before it', "correct the list"
            raise refuse("indexer_types[0]", self.indexer_types[0], expected, fix)
        least = self.qk_rope_head_dim
        if self.index_head_dim < least or self.index_head_dim % 2:
            expected = f"an even number that holds the {least} rotated columns"
            raise refuse("index_head_dim", self.index_head_dim, expected, "correct the field")


class IndexedLatentFrontend(Frontend[IndexedLatentConfig]):
    """Layers of latent attention to chosen tokens, most of them with experts."""

    def states(
        self, config: IndexedLatentConfig, attention: AttentionMode
    ) -> Mapping[str, StateType]:
        """A row of every token in every layer, and a key of it where there is an indexer."""
        latent, indexer = _attention(config).states, _indexer(config).states
        return states_by_layer(
            {**latent, **(indexer if kind == FULL else {})} for kind in config.indexer_types
        )

    def is_unread(self, name: str, config: IndexedLatentConfig) -> bool:
        """Layers after the last are for drafting."""
        return is_after_layers(name, config.num_hidden_layers)

    def emit(
        self,
        step: StepWriter,
        batch: SSAValue,
        config: IndexedLatentConfig,
        attention: AttentionMode,
    ) -> SSAValue:
        """The decoder without scales, each layer with the parts that the config names."""
        frequencies = rotary(config.rope, config.rope_theta, config.qk_rope_head_dim)
        table = step.rope_table(batch, frequencies)
        latent, indexer = _attention(config), _indexer(config)
        mlp = RoutedMlp(config, "mlp", NAMES, "e_score_correction_bias")
        selections: list[SSAValue] = []

        def mixer(x: SSAValue) -> SSAValue:
            layer = step.layer
            assert layer is not None, "mixers stand in layers"

            def choose(low: SSAValue) -> SSAValue:
                if config.indexer_types[layer] == FULL:
                    selections.append(indexer.emit(step, batch, x, low, table))
                return selections[-1]

            mixed = latent.emit(step, batch, x, table, Chosen(choose, 1))
            name, columns = "self_attn.o_proj", config.hidden_size
            return step.linear(mixed, name, columns, bias=config.attention_bias, hint="mixed")

        return Decoder(step, config, mlp=lambda x: mlp.emit(step, x)).emit(mixer)


def _attention(config: IndexedLatentConfig) -> LatentAttention:
    return LatentAttention(
        config.latent_heads,
        config.q_lora_rank,
        config.attention_bias,
        interleaved=True,
        query_role=WeightRole.RECALL,
    )


def _indexer(config: IndexedLatentConfig) -> TokenIndexer:
    sizes = (config.index_n_heads, config.index_head_dim, config.index_topk)
    return TokenIndexer(*sizes, config.INTERLEAVED)
