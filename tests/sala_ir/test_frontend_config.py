"""Parsing of MiniCPM-SALA configs: what is accepted, and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for, read_config
from sala_compile.sala_ir.frontends.kit.block_sparse import SparseConfig
from sala_compile.sala_ir.frontends.kit.lightning import LightningScale
from sala_compile.sala_ir.frontends.minicpm_sala import FRONTEND
from sala_compile.sala_ir.frontends.minicpm_sala.config import (
    MiniCPMSalaConfig,
    MixerType,
)
from tests.support.released_config import MISSING, RELEASED, ROOT, changed, changed_sparse

build_module, parse_config = FRONTEND.build_module, FRONTEND.parse_config
config_notes, FIELDS = FRONTEND.config_notes, MiniCPMSalaConfig.FIELDS


def test_released_values() -> None:
    config = parse_config(RELEASED)
    sparse = [n for n, kind in enumerate(config.mixer_types) if kind is MixerType.SPARSE]
    assert sparse == [0, 9, 16, 17, 22, 29, 30, 31]
    assert config.mixer_types.count(MixerType.LIGHTNING) == 24
    assert config.sparse_config.budget == 96
    assert config.sparse_config.window_blocks == 32
    assert config.residual_scale == pytest.approx(0.24748737, abs=1e-8)
    assert config.logit_scale == 1 / 16
    assert config.lightning_scale.factor(128) == 128**-0.5
    assert config.eos_token_id == (2, 73440)
    assert config.dtype == "bfloat16"


@pytest.mark.parametrize("name", ["sala-tiny-a", "sala-tiny-b"])
def test_golden_configs(name: str) -> None:
    raw = read_config(ROOT / "tests" / "golden" / "data" / name)
    config = frontend_for(raw).parse_config(raw)
    assert isinstance(config, MiniCPMSalaConfig)
    assert config.hidden_size == raw["hidden_size"]
    assert config.dtype == raw["torch_dtype"]
    assert config.sparse_config == SparseConfig(**raw["sparse_config"])


def test_sizes_that_may_be_missing_follow_from_others() -> None:
    absent = ("head_dim", "lightning_nh", "lightning_nkv", "lightning_head_dim")
    config = parse_config(changed(**dict.fromkeys(absent, MISSING)))
    assert config.head_dim == config.lightning_head_dim == 128
    assert (config.lightning_nh, config.lightning_nkv) == (32, 2)
    assert parse_config(changed(head_dim=None)).head_dim == 128
    assert parse_config(changed(num_key_value_heads=MISSING)).num_key_value_heads == 32


def test_sparse_defaults_are_the_model_codes() -> None:
    released = parse_config(RELEASED).sparse_config
    assert parse_config(changed(sparse_config={})).sparse_config == released
    assert parse_config(changed(sparse_config={"topk": 8})).sparse_config.topk == 8


@pytest.mark.parametrize("absent", [MISSING, None], ids=["missing", "null"])
def test_a_config_without_sparse_config_is_of_a_dense_model(absent: object) -> None:
    raw = changed(sparse_config=absent)
    config = parse_config(raw)
    assert config.sparse_config is None
    for attention in (AttentionMode.CONFIG, AttentionMode.DENSE):
        text = str(build_module(config, attention))
        assert "softmax_attention" in text
        assert "block_sparse" not in text
    with pytest.raises(ConfigError, match="no sparse_config"):
        build_module(config, AttentionMode.SPARSE)
    assert "read all of the past" in " ".join(config_notes(raw, config, "config.json"))
    assert config_notes(RELEASED, parse_config(RELEASED), "config.json") == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"use_cache": False, "initializer_range": 3.0, "_name_or_path": "x", "auto_map": {"a": 1}},
        {"lightning_layerwise_decay": False, "num_experts": 0, "partial_rotary_factor": 1},
        {"final_logit_softcapping": None, "is_decoder": True, "pruned_heads": {}},
        {"rope_scaling": {"rope_type": "default", "factor": 1.0}},
        {"rope_scaling": {"type": "linear", "factor": 1}},
        {"rope_scaling": {"rope_type": "yarn", "factor": 1.0, "beta_fast": 32, "mscale": 0.7}},
        {"rope_scaling": {"rope_type": "llama3", "factor": 1.0, "low_freq_factor": 1.0}},
        {"rope_parameters": {"rope_type": "default", "attention_factor": None, "factor": None}},
        {"rope_scaling": {"rope_type": "default", "original_max_position_embeddings": 4096}},
        {"lightning_scale": 1, "mixer_types": ["attn", "standard", "attention", "minicpm"] * 8},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_fields_without_effect_at_their_value_are_taken(fields: dict[str, Any]) -> None:
    raw = changed(**fields)
    assert config_notes(raw, parse_config(raw), "config.json") == ()


def test_unknown_fields_are_told_in_one_note() -> None:
    raw = changed(colour="red", **{"with space": 1, "_private": 2})
    (note,) = config_notes(raw, parse_config(raw), "config.json")
    assert "config.json" in note
    assert note.endswith(": colour, 'with space'")
    many = changed(**{f"field_{index}": index for index in range(1000)})
    (note,) = config_notes(many, parse_config(many), "config.json")
    assert "field_0, field_1" in note
    assert "and 960 more" in note


def test_every_field_of_the_model_has_a_rule() -> None:
    assert set(MiniCPMSalaConfig.model_fields) - {"rope"} <= set(FIELDS)  # of three fields
    assert set(RELEASED) <= set(FIELDS)


@pytest.mark.parametrize("spelling", ["lightning", "lightning_attn", "lightning-attn"])
def test_spellings_of_lightning(spelling: str) -> None:
    raw = changed(mixer_types=["minicpm4", spelling], num_hidden_layers=2)
    assert parse_config(raw).mixer_types == (MixerType.SPARSE, MixerType.LIGHTNING)


@pytest.mark.parametrize(
    ("spelling", "factor"), [("1/sqrt(d)", 0.125), ("1/d", 1 / 64), ("1", 1.0), ("1.0", 1.0)]
)
def test_lightning_scales(spelling: str, factor: float) -> None:
    scale = parse_config(changed(lightning_scale=spelling)).lightning_scale
    assert isinstance(scale, LightningScale)
    assert scale.factor(64) == factor


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": MISSING, "torch_dtype": "bfloat16"},
        {"dtype": "torch.bfloat16"},
        {"torch_dtype": "bfloat16"},
    ],
)
def test_spellings_of_dtype(fields: dict[str, Any]) -> None:
    assert parse_config(changed(**fields)).dtype == "bfloat16"


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_scaling": {"rope_type": "default"}},
        {"rope_scaling": {"type": "default", "rope_theta": 10000.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "rope_theta": MISSING},
        {"rope_scaling": MISSING},
        {"rope_theta": 10000},
    ],
)
def test_spellings_of_unscaled_rotation(fields: dict[str, Any]) -> None:
    assert parse_config(changed(**fields)).rope_theta == 10000.0


@pytest.mark.parametrize(
    "fields",
    [
        {"num_attention_heads": 12, "num_key_value_heads": 4, "lightning_nh": 12},
        {"num_key_value_heads": 32},
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"attn_use_rope": True},
        {"hidden_size": 1000},
        {"lightning_nkv": 8},
        {"head_dim": 6, "lightning_head_dim": 10},
        {"scale_emb": 1, "dim_model_base": 100.5},
        {"eos_token_id": 2},
        {"eos_token_id": None},
        {"transformers_version": "5.0", "auto_map": {}},
        {"max_position_embeddings": None},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_supported_variations(fields: dict[str, Any]) -> None:
    if "lightning_nh" in fields:
        fields = fields | {"lightning_nkv": fields["lightning_nh"]}
    parse_config(changed(**fields))


def test_a_dense_length_of_minus_one_is_the_publishers_word_for_always_sparse() -> None:
    sparse = parse_config(changed_sparse(dense_len=-1)).sparse_config
    assert sparse is not None
    assert sparse.dense_len == 0
    assert sparse.selection(AttentionMode.CONFIG).paths == ((0, "sparse"),)


@pytest.mark.parametrize("rotates", [False, True])
def test_selection_without_rotation_matters_only_with_rotation(rotates: bool) -> None:
    raw = changed_sparse(use_nope=True) | {"attn_use_rope": rotates}
    frontend = frontend_for(raw)
    states = frontend.states(frontend.parse_config(raw), AttentionMode.CONFIG)
    assert ("layers.0.recent_keys" in states) == rotates


def test_sparse_constraints_do_not_bind_a_model_without_sparse_layers() -> None:
    raw = changed_sparse(topk=1) | {
        "mixer_types": ["lightning"],
        "num_hidden_layers": 1,
    }
    assert MixerType.SPARSE not in parse_config(raw).mixer_types
