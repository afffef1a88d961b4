"""Parsing of MiniCPM-SALA configs: what is refused, and how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.frontends import frontend_for, read_config
from sala_compile.sala_ir.frontends.minicpm_sala import FRONTEND
from sala_compile.sala_ir.frontends.minicpm_sala.config import (
    MiniCPMSalaConfig,
)
from tests.support.released_config import MISSING, RELEASED, changed, changed_sparse, refused

build_module, parse_config = FRONTEND.build_module, FRONTEND.parse_config
config_notes, FIELDS = FRONTEND.config_notes, MiniCPMSalaConfig.FIELDS


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


def test_messages_about_long_values_are_short() -> None:
    assert len(str(refused(changed(vocab_size=["x"] * 100_000)))) < 500


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


def test_unknown_mixer_names_its_layer() -> None:
    mixers = [*RELEASED["mixer_types"][:-1], "mamba"]
    error = refused(changed(mixer_types=mixers))
    assert error.where == "here/config.json: mixer_types[31]"
    assert "'mamba'" in error.found
    assert error.expected is not None
    assert "lightning_attn" in error.expected
    assert "31" in str(refused(changed(mixer_types=[*mixers[:-1], 7])))


def test_a_window_has_whole_blocks() -> None:
    sparse = parse_config(changed_sparse(window_size=2000)).sparse_config
    assert (sparse.window_blocks, sparse.budget) == (31, 64 + 31)


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
        caught.value.expected
        == '"minicpm_sala", "minicpm", "hypenet", "llama", "qwen2", "qwen3", "olmo_hybrid", '
        '"falcon_h1", "minicpm3", "qwen3_next", "kimi_linear", "bailing_hybrid", '
        '"minimax", "nemotron_h", "glm5_next", "deepseek_v32", "glm_moe_dsa", '
        '"qwen4_exp", "qwen4_exp_text"'
    )
    assert caught.value.where == "config.json: model_type"
