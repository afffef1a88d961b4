"""Latent attention beside experts that a sigmoid chooses by groups: Kimi, Ling, DeepSeek."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.ir import SSAValue

from sala_compile.runtime.common.json_text import is_list, quoted
from sala_compile.sala_ir.dialect import ScoreFunction
from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRule, FieldRules
from sala_compile.sala_ir.frontends.kit.decoder import gated_mlp
from sala_compile.sala_ir.frontends.kit.experts import Experts, Router, check_router, together
from sala_compile.sala_ir.frontends.kit.fields import (
    Cardinal,
    Count,
    Positive,
    Refuse,
    config_error,
    layer_count,
)
from sala_compile.sala_ir.frontends.kit.latent import LATENT_FIELDS, LatentConfig
from sala_compile.sala_ir.frontends.kit.step import StepWriter

GATE_EPS = 1e-20
"""What is added to the sum by which the weights of experts are divided."""
DENSE, SPARSE = "dense", "sparse"
"""Kinds of MLPs."""

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "num_experts_per_tok": ("num_experts_per_token",),
    "norm_topk_prob": ("moe_renormalize",),
    "n_group": ("num_expert_group",),
    "n_shared_experts": ("num_shared_experts",),
    "max_position_embeddings": ("model_max_length",),
}
"""Fields, each with the names that some configs have in its place."""


def is_list_of(*kinds: str) -> FieldRule:
    """The rule of a list of these names."""

    def fits(value: Any) -> bool:
        return is_list(value) and all(isinstance(item, str) and item in kinds for item in value)

    return FieldRule(fits, "a list of " + " and ".join(f'"{kind}"' for kind in kinds))


ROUTED_FIELDS: FieldRules = {
    **LATENT_FIELDS,
    **dict.fromkeys((*OTHER_NAMES, *(n for names in OTHER_NAMES.values() for n in names)), USED),
    **dict.fromkeys(("topk_group", "routed_scaling_factor", "moe_intermediate_size"), USED),
    **dict.fromkeys(("first_k_dense_replace", "num_hidden_layers"), USED),
    "mlp_layer_types": is_list_of(DENSE, SPARSE),
    "output_router_logits": NO_EFFECT,
}


class RoutedConfig(LatentConfig):
    """The fields of experts that are chosen by a sigmoid, by groups first."""

    mlp_layer_types: tuple[str, ...]
    num_experts: Count
    num_experts_per_tok: Count
    norm_topk_prob: bool = True
    n_group: Count = 1
    topk_group: Count = 1
    n_shared_experts: Cardinal = 0
    routed_scaling_factor: Positive = 1.0
    moe_intermediate_size: Count
    tie_word_embeddings: bool = False

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        self.check_layers("mlp_layer_types", self.mlp_layer_types, refuse)
        super().check(refuse)
        if SPARSE in self.mlp_layer_types:
            count = ("num_experts", self.num_experts)
            chosen = ("num_experts_per_tok", self.num_experts_per_tok)
            check_router(refuse, count, chosen, self.n_group, self.topk_group)

    def check_layers(self, name: str, found: Sequence[object], refuse: Refuse) -> None:
        """Refuse a list that has not an entry for each layer."""
        if len(found) != self.num_hidden_layers:
            expected = f"one entry for each of the {self.num_hidden_layers} layers"
            raise refuse(name, f"a list of {len(found)}", expected, "correct the list")


def fill_routed(fields: dict[str, Any], file: str, *, dense: int) -> None:
    """One name for each field, and the kinds of MLPs from how many layers begin without experts.

    That is `dense` unless the config says it. Raises `ConfigError` where two names disagree.
    """
    for name, others in OTHER_NAMES.items():
        for other in others:
            if other not in fields:
                continue
            if fields.setdefault(name, fields[other]) != fields[other]:
                expected = f"the same as {name}, {quoted(fields[name])}"
                raise config_error(file, other, fields[other], expected, "keep one of the two")
    layers, first = layer_count(fields), fields.get("first_k_dense_replace", dense)
    if is_list(kinds := fields.get("mlp_layer_types")):
        fields["mlp_layer_types"] = tuple(kinds)
    elif layers is not None and type(first) is int:
        fields["mlp_layer_types"] = tuple(DENSE if n < first else SPARSE for n in range(layers))


@dataclass(frozen=True, slots=True)
class RoutedMlp:
    """Emits the MLPs of a model: a gated one under `mlp.`, experts under `folder`.

    `names` are the matrices of an expert; `bias` is what only decides who is chosen. A `limit` is
    that of all gates, 0 if there is none.
    """

    config: RoutedConfig
    folder: str
    names: tuple[str, str, str]
    bias: str
    limit: float = 0.0

    def emit(self, step: StepWriter, x: SSAValue) -> SSAValue:
        """The MLP of the layer that is being written."""
        config, layer = self.config, step.layer
        assert layer is not None, "MLPs stand in layers"
        if config.mlp_layer_types[layer] == DENSE:
            return gated_mlp(step, x, "mlp.", config.intermediate_size, limit=self.limit)
        router = Router(
            ScoreFunction.SIGMOID,
            config.num_experts_per_tok,
            f"{self.folder}.gate",
            f"{self.folder}.gate.{self.bias}",
            config.n_group,
            config.topk_group,
            config.norm_topk_prob,
            GATE_EPS,
            config.routed_scaling_factor,
        )
        inner = config.moe_intermediate_size
        experts = Experts(
            config.num_experts, inner, router, self.folder, self.names, limit=self.limit
        )
        routed = experts.emit(step, x)
        if not config.n_shared_experts:
            return routed
        place, wide = f"{self.folder}.shared_experts.", inner * config.n_shared_experts
        return together(step, gated_mlp(step, x, place, wide, limit=self.limit), routed)
