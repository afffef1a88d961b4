"""The config of a Nemotron-H checkpoint: names and defaults of transformers' own class."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, cast

from sala_compile.sala_ir.field_rules import NO_EFFECT, USED, FieldRule, FieldRules, only
from sala_compile.sala_ir.frontends.kit.config import DecoderConfig, fill_from
from sala_compile.sala_ir.frontends.kit.experts import check_router
from sala_compile.sala_ir.frontends.kit.fields import Count, HeadDim, Heads, Positive, Real, Refuse
from sala_compile.sala_ir.frontends.kit.known_fields import COMMON


class NemotronMixer(StrEnum):
    """The kind of a layer."""

    MAMBA = "linear_attention"
    ATTENTION = "full_attention"
    MLP = "mlp"
    EXPERTS = "moe"


KINDS, PATTERN = "layers_block_type", "hybrid_override_pattern"
LETTERS = {
    "M": NemotronMixer.MAMBA,
    "*": NemotronMixer.ATTENTION,
    "-": NemotronMixer.MLP,
    "E": NemotronMixer.EXPERTS,
}
"""The kinds as the pattern of published configs writes them."""
_OLD = {"mamba": NemotronMixer.MAMBA, "attention": NemotronMixer.ATTENTION}
_USED = (
    *(KINDS, "layer_norm_epsilon", "mamba_num_heads", "mamba_head_dim", "n_groups"),
    *("ssm_state_size", "conv_kernel", "use_conv_bias", "time_step_min"),
    *("n_routed_experts", "num_experts_per_tok", "n_group", "topk_group", "norm_topk_prob"),
    *("routed_scaling_factor", "moe_intermediate_size", "moe_shared_expert_intermediate_size"),
    *("moe_latent_size", "n_shared_experts"),
)
_NO_EFFECT = (
    # of its kernels, of values before training, of drafting; a size that others give
    *("chunk_size", "use_mamba_kernels", "mamba_ssm_cache_dtype", "moe_shared_expert_overlap"),
    *("num_logits_to_keep", "residual_in_fp32", "rescale_prenorm_residual", "expand"),
    *("time_step_floor", "time_step_max", "time_step_limit", "time_step_rank"),
    *("mtp_layers_block_type", "mtp_hybrid_override_pattern", "output_router_logits"),
    *("rope_theta", "partial_rotary_factor", "mamba_dt_min", "mamba_dt_max", "mamba_dt_limit"),
)


def _kind(name: Any) -> Any:
    """The kind of that name, in either spelling; another value is left to the validation."""
    if not isinstance(name, str):
        return name
    return _OLD.get(name) or next((kind for kind in NemotronMixer if kind.value == name), name)


def _is_pattern(value: Any) -> bool:
    return isinstance(value, str) and set(value) <= set(LETTERS)


class NemotronHConfig(DecoderConfig):
    """Everything that inference reads."""

    FAMILY: ClassVar[str] = "nemotron_h"
    FIELDS: ClassVar[FieldRules] = {
        **COMMON,
        **dict.fromkeys(_USED, USED),
        **dict.fromkeys(_NO_EFFECT, NO_EFFECT),
        **dict.fromkeys(("attention_bias", "mamba_proj_bias", "use_bias"), only(False)),
        PATTERN: FieldRule(_is_pattern, "a text of " + ", ".join(LETTERS)),
        "mlp_hidden_act": only("relu2"),
        "mamba_hidden_act": only("silu"),
        "n_shared_experts": only(1),
    }

    intermediate_size: Count = 21504
    head_dim: HeadDim = 128
    rms_norm_eps: Positive = 1e-5
    rope_theta: Positive = 10000.0
    tie_word_embeddings: bool = False
    layers_block_type: tuple[NemotronMixer, ...]
    mamba_num_heads: Heads = 128
    mamba_head_dim: HeadDim = 64
    n_groups: Heads = 8
    ssm_state_size: Count = 128
    conv_kernel: Count = 4
    use_conv_bias: bool = True
    time_step_min: Positive = 0.001
    n_routed_experts: Count = 8
    num_experts_per_tok: Count = 2
    n_group: Count = 1
    topk_group: Count = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: Real = 1.0
    moe_intermediate_size: Count = 7688
    moe_shared_expert_intermediate_size: Count = 7688
    moe_latent_size: Count | None = None

    @classmethod
    def fill(cls, fields: dict[str, Any], file: str) -> None:
        """Kinds of layers as values of their type, from the pattern where they are not listed."""
        fill_from(fields, num_key_value_heads="num_attention_heads")
        fill_from(fields, rms_norm_eps="layer_norm_epsilon")
        pattern, listed = fields.get(PATTERN), fields.get(KINDS)
        if isinstance(listed, list):
            kinds = tuple(map(_kind, cast(list[Any], listed)))
        elif isinstance(pattern, str):
            kinds = tuple(LETTERS[letter] for letter in pattern)
        else:
            return
        fields[KINDS] = kinds
        fields.setdefault("num_hidden_layers", len(kinds))

    def check(self, refuse: Refuse) -> None:
        """Raise `ConfigError` for the first constraint between fields that is broken."""
        found, layers = len(self.layers_block_type), self.num_hidden_layers
        if found != layers:
            expected = f"{found}, as {KINDS} or {PATTERN} has"
            raise refuse("num_hidden_layers", layers, expected, "correct one of them")
        super().check(refuse)
        heads, groups = self.mamba_num_heads, self.n_groups
        if heads % groups:
            expected = f"a multiple of the {groups} groups"
            raise refuse("mamba_num_heads", heads, expected, "correct the head counts")
        if self.conv_kernel < 2:
            expected, fix = "at least 2", "a convolution of one tap keeps no state"
            raise refuse("conv_kernel", self.conv_kernel, expected, fix)
        if NemotronMixer.EXPERTS in self.layers_block_type:
            count = ("n_routed_experts", self.n_routed_experts)
            chosen = ("num_experts_per_tok", self.num_experts_per_tok)
            check_router(refuse, count, chosen, self.n_group, self.topk_group)
