"""HypeNet: defaults and rules of the publisher's class, scaled queries, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.support.quantization import Quantization, quantized_tensors
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import (
    RopeOp,
    RopeTableOp,
    SoftmaxAttentionOp,
    WeightOp,
    WeightRole,
)
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

ATTENTION, LIGHTNING = "attn", "lightning-attn"


def small(**fields: Any) -> dict[str, Any]:
    """A config.json of two layers as they are published; None leaves a field out."""
    config = {
        "model_type": "hypenet",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "mixer_types": [LIGHTNING, ATTENTION],
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "attn_use_rope": False,
        "attn_use_output_gate": True,
        "lightning_nkv": 4,
        "lightning_use_qk_norm": True,
        "lightning_use_output_norm": True,
        "lightning_use_output_gate": True,
        "tie_word_embeddings": True,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_defaults_are_those_of_the_class() -> None:
    usual = ("attn_use_rope", "attn_use_output_gate", "lightning_nkv", "lightning_use_qk_norm")
    outputs = ("lightning_use_output_norm", "lightning_use_output_gate", "tie_word_embeddings")
    config = parse(**dict.fromkeys((*usual, *outputs, "mixer_types")))
    assert [mixer.value for mixer in config.mixer_types] == [ATTENTION] * 2
    assert config.attn_use_rope
    assert config.lightning_use_rope
    off = ("attn_use_output_gate", "lightning_use_qk_norm", *outputs)
    assert not any(getattr(config, name) for name in off)
    assert (config.lightning_nh, config.lightning_nkv, config.lightning_head_dim) == (4, 2, 16)
    assert (config.rope_theta, config.rms_norm_eps) == (1e4, 1e-6)
    assert config.lightning_scale.value == "1/sqrt(d)"


@pytest.mark.parametrize(
    ("value", "offset", "factor"),
    [
        ("hype 500", 500.0, 1 / math.log(500)),
        ("hype", 362.0, 1 / math.log(362)),
        ("hype 50.5", 50.5, 1 / math.log(50)),
        (1.5, 0.0, 1.5),
        (None, 0.0, 1.0),
    ],
)
def test_scaling_of_queries(value: Any, offset: float, factor: float) -> None:
    """One table scales queries by position; a constant joins the scale of the scores."""
    scaling = parse(attn_logits_scaling=value).attn_logits_scaling
    assert (scaling.offset, scaling.factor) == (offset, pytest.approx(factor))
    (attention,) = ops(SoftmaxAttentionOp, attn_logits_scaling=value)
    constant = 1.0 if offset else factor
    assert attention.heads.data.scale == pytest.approx(constant / 4)
    tables = [op.parameters for op in ops(RopeTableOp, attn_logits_scaling=value)]
    assert [table["log_offset"] for table in tables] == [0.0, offset][: 2 if offset else 1]
    if offset:
        assert set(tables[1]["frequencies"]) == {0.0}
        assert tables[1]["factor"] == pytest.approx(factor)


def test_keys_are_rotated_but_not_scaled() -> None:
    fields: dict[str, Any] = {"attn_logits_scaling": "hype 50", "attn_use_rope": True}
    plain, scaled = ops(RopeTableOp, **fields)
    assert plain.parameters["frequencies"] == scaled.parameters["frequencies"]
    rotations = [op for op in ops(RopeOp, **fields) if op.layer == 1]
    offsets = [op.table.owner.parameters["log_offset"] for op in rotations]
    assert offsets == [50.0, 0.0]
    assert len(ops(RopeTableOp, lightning_use_rope=False)) == 0


def test_notes_say_whether_queries_are_scaled() -> None:
    frontend = frontend_for(small())
    for value, text in ((None, "is null"), ("hype 600", "log(600)"), (1.5, "multiplied by 1.5")):
        raw = small(attn_logits_scaling=value)
        (note,) = frontend.config_notes(raw, frontend.parse_config(raw), "config.json")
        assert text in note
    raw = small(mixer_types=[LIGHTNING] * 2)
    assert frontend.config_notes(raw, frontend.parse_config(raw), "config.json") == ()


def test_queries_and_keys_of_attention_are_sensitive() -> None:
    roles = {op.tensor_name.data: op.role.data for op in ops(WeightOp)}
    recalling = [name for name, role in roles.items() if role is WeightRole.RECALL]
    assert recalling == [f"model.layers.1.self_attn.{part}_proj.weight" for part in "qk"]
    encodings = quantized_tensors(
        frontend_for(small()).build_module(parse()), Quantization.INT4_G32
    )
    labels = {encodings[name].label for name in recalling}
    assert labels == {"int8-g128"}
    assert encodings["model.layers.0.self_attn.q_proj.weight"].label == "int4-g32"


def test_tensors_of_the_layers() -> None:
    frontend = frontend_for(small())
    tensors = frontend.expected_tensors(parse(attention_bias=True))
    assert "lm_head.weight" not in tensors
    assert "lm_head.weight" in frontend.tied_tensors(parse())
    lightning = {name for name in tensors if name.startswith("model.layers.0.self_attn.")}
    attention = {name for name in tensors if name.startswith("model.layers.1.self_attn.")}
    projections = {f"{p}_proj.{kind}" for p in "qkvo" for kind in ("weight", "bias")}
    norms = {"q_norm.weight", "k_norm.weight"}
    gate = {"z_proj.weight", "z_proj.bias", "o_norm.weight"}
    assert {name.split("self_attn.")[1] for name in lightning} == projections | norms | gate
    wanted = projections | norms | {"o_gate.weight"}
    assert {name.split("self_attn.")[1] for name in attention} == wanted
    assert tensors["model.layers.0.self_attn.k_proj.weight"] == (64, 64)
    assert tensors["model.layers.1.self_attn.k_proj.weight"] == (32, 64)
    assert tensors["model.layers.0.self_attn.o_norm.weight"] == (64,)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"attn_logits_scaling": 2}, "attn_logits_scaling"),
        ({"attn_logits_scaling": True}, "attn_logits_scaling"),
        ({"attn_logits_scaling": -1.0}, "attn_logits_scaling"),
        ({"attn_logits_scaling": ""}, "attn_logits_scaling"),
        ({"attn_logits_scaling": "hype x"}, "attn_logits_scaling"),
        ({"attn_logits_scaling": "hype nan"}, "attn_logits_scaling"),
        ({"attn_logits_scaling": "hype 1"}, "attn_logits_scaling"),
        ({"attn_logits_scaling": "hype 1e30"}, "attn_logits_scaling"),
        ({"attn_logits_scaling": "hype 5 0"}, "attn_logits_scaling"),
        ({"mixer_types": [LIGHTNING, "kda"]}, "mixer_types[1]"),
        ({"mixer_types": [LIGHTNING, 3]}, "mixer_types[1]"),
        ({"mixer_types": [LIGHTNING]}, "mixer_types"),
        ({"mixer_types": "attn"}, "mixer_types"),
        ({"lightning_head_dim": 8}, "lightning_head_dim"),
        ({"lightning_nkv": 3}, "lightning_nh"),
        ({"lightning_scale": "d"}, "lightning_scale"),
        ({"lightning_use_short_conv": True}, "lightning_use_short_conv"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"head_dim": None}, "head_dim"),
        ({"num_hidden_layers": "2", "mixer_types": None}, "num_hidden_layers"),
        ({"num_experts": 8}, "num_experts"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_scaling"),
    ],
    ids=lambda value: ",".join(map(str, value.items())) if isinstance(value, dict) else None,
)
def test_refused_by_name(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {where}"
    assert caught.value.expected
    assert caught.value.fix


def test_sparse_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match="hypenet has no sparse attention"):
        frontend_for(small()).build_module(parse(), AttentionMode.SPARSE)


SHAPES: dict[str, dict[str, Any]] = {
    "as published, other heads": {
        "mixer_types": ["lightning_attn", ATTENTION, LIGHTNING],
        "num_hidden_layers": 3,
        "lightning_nh": 6,
        "lightning_nkv": 3,
        "lightning_scale": "1/d",
        "rms_norm_eps": 0.01,
    },
    "scaled, without gates and output norm": {
        "attn_logits_scaling": "hype",
        "attn_use_output_gate": False,
        "lightning_use_output_norm": False,
        "tie_word_embeddings": False,
    },
    "scaled and rotated, biases": {
        "attn_logits_scaling": "hype 50.5",
        "attn_use_rope": True,
        "attention_bias": True,
        "lightning_use_output_gate": False,
        "num_key_value_heads": 4,
    },
    "a constant, no rotation, plain Lightning": {
        "attn_logits_scaling": 1.5,
        "lightning_use_rope": False,
        "lightning_use_qk_norm": False,
        "num_key_value_heads": 1,
    },
    "attention alone, in other frequencies": {
        "mixer_types": [],
        "attn_use_rope": True,
        "attn_logits_scaling": "hype 90",
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.0] * 8,
            "long_factor": [4.0] * 8,
            "original_max_position_embeddings": 100,
        },
        "max_position_embeddings": 400,
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes_against_the_reference(name: str, tmp_path: Path) -> None:
    """In chunks, and decoded."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small(**SHAPES[name]))
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(0).integers(0, 131, 150).tolist()
    with sala_compile.load(tmp_path / "model.sala", context=192) as model:
        for length in (5, 98, 150):
            reference = reference_model(checkpoint)
            found, wanted = model.logits(ids[:length], chunk=37), reference.prefill(ids[:length])
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
            with model.sequence() as sequence:
                sequence.append(ids[:length])
                for token in ids[:4]:
                    wanted = reference.decode(token)
                    np.testing.assert_allclose(sequence.append([token]), wanted, rtol=0, atol=1e-3)
