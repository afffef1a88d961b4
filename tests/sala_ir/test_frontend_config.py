"""Parsing of MiniCPM-SALA configs: what is accepted, what is filled in, what is refused and how."""

from __future__ import annotations

import json
import os
from pathlib import Path
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

build_module, parse_config = FRONTEND.build_module, FRONTEND.parse_config
config_notes, FIELDS = FRONTEND.config_notes, MiniCPMSalaConfig.FIELDS

ROOT = Path(__file__).parents[2]
RELEASED = json.loads((ROOT / "examples" / "released-config.json").read_text())
MISSING = object()


def changed(**fields: Any) -> dict[str, Any]:
    """The released config with fields replaced or, by MISSING, left out."""
    merged = RELEASED | fields
    return {name: value for name, value in merged.items() if value is not MISSING}


def changed_sparse(**fields: Any) -> dict[str, Any]:
    """The released config with another sparse_config."""
    merged = RELEASED["sparse_config"] | fields
    return changed(
        sparse_config={name: value for name, value in merged.items() if value is not MISSING}
    )


def refused(raw: dict[str, Any]) -> ConfigError:
    """The error that a config gives."""
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, file="here/config.json")
    return caught.value


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lightning_layerwise_decay", True),
        ("num_experts", 8),
        ("partial_rotary_factor", 0.5),
        ("final_logit_softcapping", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("sliding_window", 4096),
        ("mlp_bias", True),
        ("mlp_bias", 0),
        ("pruned_heads", {"0": [1]}),
        ("logit_scale", 0.25),
        ("query_pre_attn_scalar", 256),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        ("rope_scaling", {"rope_type": "linear"}),
        ("rope_scaling", {"type": "yarn", "original_max_position_embeddings": 4096}),
        ("rope_scaling", {"rope_type": "yarn", "factor": 1.0, "attention_factor": 1.1}),
        ("rope_scaling", {"rope_type": "longrope", "factor": 1.0, "long_factor": [1.0]}),
        ("rope_scaling", {"rope_type": "dynamic", "factor": 1.0}),
        ("rope_scaling", {"rope_type": "default", "partial_rotary_factor": 0.5}),
        ("rope_scaling", {"rope_type": "default", "attention_factor": 1.2}),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
        ("rope_scaling", {"rope_type": ["default"]}),
        ("num_hidden_layers", 10**6),
        ("num_attention_heads", 2**20),
        ("lightning_nh", 2**20),
        ("lightning_head_dim", 2**20),
        ("rms_norm_eps", 1e-300),
        ("scale_emb", 1e300),
    ],
)
def test_fields_that_change_the_mathematics_are_refused(field: str, value: object) -> None:
    error = refused(changed(**{field: value}))
    assert error.where == f"here/config.json: {field}"
    assert error.expected
    assert error.fix


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


def test_messages_about_long_values_are_short() -> None:
    assert len(str(refused(changed(vocab_size=["x"] * 100_000)))) < 500


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


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"model_type": "llama"}, "model_type", "minicpm_sala"),
        ({"hidden_act": "gelu"}, "hidden_act", "silu"),
        ({"vocab_size": "big"}, "vocab_size", "an integer"),
        ({"vocab_size": 0}, "vocab_size", "greater than 0"),
        ({"vocab_size": 2**31}, "vocab_size", "less than"),
        ({"hidden_size": 4096.5}, "hidden_size", "an integer"),
        ({"num_hidden_layers": True}, "num_hidden_layers", "an integer"),
        ({"num_hidden_layers": 31}, "mixer_types", "each of the 31 layers"),
        ({"mixer_types": "minicpm4"}, "mixer_types", "a list"),
        ({"rms_norm_eps": 0}, "rms_norm_eps", "greater than 0"),
        ({"rope_theta": float("inf")}, "rope_theta", "a finite number"),
        ({"scale_emb": "12"}, "scale_emb", "a number"),
        ({"attn_use_rope": 1}, "attn_use_rope", "true or false"),
        ({"num_attention_heads": 33}, "num_attention_heads", "multiple of the 2"),
        ({"lightning_nh": 48}, "lightning_nh", "multiple of the 32"),
        ({"head_dim": 127}, "head_dim", "even"),
        ({"lightning_head_dim": 127}, "lightning_head_dim", "even"),
        ({"lightning_scale": "1/sqrt(D)"}, "lightning_scale", '"1/sqrt(d)", "1/d" or "1"'),
        ({"lightning_scale": 0.5}, "lightning_scale", '"1/sqrt(d)", "1/d" or "1"'),
        ({"lightning_scale": True}, "lightning_scale", '"1/sqrt(d)", "1/d" or "1"'),
        ({"dtype": "int8"}, "dtype", "'bfloat16'"),
        ({"torch_dtype": "float32"}, "torch_dtype", "the same as dtype"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rope_scaling", "not supported"),
        ({"rope_scaling": {"factor": 4.0}}, "rope_scaling", "not supported"),
        ({"rope_scaling": "linear"}, "rope_scaling", "null or an object"),
        (
            {"rope_parameters": {"rope_theta": 5e5}},
            "rope_parameters.rope_theta",
            "the same as rope_theta",
        ),
        ({"sparse_config": [1]}, "sparse_config", "an object"),
        ({"eos_token_id": ["x"]}, "eos_token_id[0]", "an integer"),
        ({"eos_token_id": [2, 10**20]}, "eos_token_id[1]", "less than"),
        ({"eos_token_id": -1}, "eos_token_id[0]", "greater than or equal to 0"),
        ({"bos_token_id": 2**31}, "bos_token_id", "less than"),
        ({"quantization_config": {"bits": 4}}, "quantization_config", "plain weights"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_refused_with_field_and_expectation(
    fields: dict[str, Any], field: str, expected: str
) -> None:
    error = refused(changed(**fields))
    assert error.where == f"here/config.json: {field}"
    assert error.expected is not None
    assert expected in error.expected
    assert error.fix


@pytest.mark.parametrize(
    ("fields", "field", "expected"),
    [
        ({"kernel_size": 48}, "kernel_size", "2 * kernel_stride = 32"),
        ({"block_size": 40}, "block_size", "multiple of kernel_stride = 16"),
        ({"window_size": 2000}, "window_size", "multiple of block_size = 64"),
        ({"topk": 1}, "topk", "at least init_blocks + 1 = 2"),
        ({"init_blocks": 64}, "topk", "at least init_blocks + 1 = 65"),
        ({"topk": 0}, "topk", "greater than 0"),
        ({"dense_len": -2}, "dense_len", "greater than or equal to 0"),
        ({"dense_len": None}, "dense_len", "an integer"),
        ({"colour": 3}, "colour", "no such field"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_sparse_config_refused(fields: dict[str, Any], field: str, expected: str) -> None:
    error = refused(changed_sparse(**fields))
    assert error.where == f"here/config.json: sparse_config.{field}"
    assert error.expected is not None
    assert expected in error.expected


def test_a_dense_length_of_minus_one_is_the_publishers_word_for_always_sparse() -> None:
    sparse = parse_config(changed_sparse(dense_len=-1)).sparse_config
    assert sparse is not None
    assert sparse.dense_len == 0
    assert sparse.selection(AttentionMode.CONFIG).paths == ((0, "sparse"),)


def test_unknown_mixer_names_its_layer() -> None:
    mixers = [*RELEASED["mixer_types"][:-1], "mamba"]
    error = refused(changed(mixer_types=mixers))
    assert error.where == "here/config.json: mixer_types[31]"
    assert "'mamba'" in error.found
    assert error.expected is not None
    assert "lightning_attn" in error.expected
    assert "31" in str(refused(changed(mixer_types=[*mixers[:-1], 7])))


def test_selection_without_rotation_matters_only_with_rotation() -> None:
    harmless = changed_sparse(use_nope=True)
    assert parse_config(harmless).sparse_config.use_nope
    error = refused(harmless | {"attn_use_rope": True})
    assert error.where == "here/config.json: sparse_config.use_nope"


def test_sparse_constraints_do_not_bind_a_model_without_sparse_layers() -> None:
    raw = changed_sparse(window_size=2000) | {
        "mixer_types": ["lightning"],
        "num_hidden_layers": 1,
    }
    assert MixerType.SPARSE not in parse_config(raw).mixer_types


@pytest.mark.parametrize(
    "field",
    [
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "mixer_types", "scale_emb", "scale_depth", "dim_model_base"),
        *("attn_use_rope", "attn_use_output_gate", "lightning_use_rope", "qk_norm"),
        *("use_output_norm", "use_output_gate", "tie_word_embeddings", "rope_theta"),
        *("rms_norm_eps", "lightning_scale"),
    ],
)
@pytest.mark.parametrize("absent", [MISSING, None], ids=["missing", "null"])
def test_fields_that_are_not_guessed(field: str, absent: object) -> None:
    error = refused(changed(**{field: absent}))
    assert error.found == f"{field} is missing"
    assert error.where == f"here/config.json: {field}"


def test_head_dim_is_not_rounded() -> None:
    error = refused(changed(hidden_size=4097, head_dim=MISSING, lightning_head_dim=MISSING))
    assert error.found == "head_dim is missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1]", "holds a list"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b'{"vocab_size": ' + b"7" * 5000 + b"}", "a number of 5000 characters"),
        (b'{"rope_theta": Infinity}', "Infinity"),
        (b'{"rope_theta": 1, "rope_theta": 2}', "'rope_theta' twice"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_unreadable_config_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path)


def test_a_pipe_in_place_of_a_config_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="is a pipe"):
        read_config(tmp_path)


@pytest.mark.parametrize("model_type", [None, "gpt2", 3])
def test_unknown_model_types(model_type: object) -> None:
    with pytest.raises(ConfigError) as caught:
        frontend_for({} if model_type is None else {"model_type": model_type})
    assert (
        caught.value.expected == '"minicpm_sala", "minicpm", "hypenet", "llama", "qwen2", "qwen3"'
    )
    assert caught.value.where == "config.json: model_type"
