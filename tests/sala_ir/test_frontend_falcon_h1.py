"""Falcon-H1: defaults and rules of its class, where its factors go, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.attention_sizes import NO_LIMIT
from sala_compile.sala_ir.dialect import RmsNormOp, ShortConvolutionOp, StateSpaceOp
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.emulated_gpu import emulated_code


def small(**fields: Any) -> dict[str, Any]:
    """A config.json of two layers as they are published; None leaves a field out."""
    config = {
        "model_type": "falcon_h1",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
        "mamba_d_ssm": 84,
        "mamba_n_heads": 6,
        "mamba_d_state": 20,
        "mamba_n_groups": 2,
        "key_multiplier": 0.6,
        "mlp_multipliers": [0.7, 1.3],
        "ssm_multipliers": [0.8, 1.25, 0.6, 0.75, 0.9],
        "time_step_limit": [0.0, {"__float__": "Infinity"}],
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_defaults() -> None:
    config = parse(mamba_d_head="auto", ssm_multipliers=None, time_step_limit=None)
    assert (config.mamba_d_head, config.mamba_d_conv) == (14, 4)
    assert config.ssm_multipliers == (1.0,) * 5
    assert config.time_step_limit == (0.0, NO_LIMIT)
    assert parse(mamba_d_ssm=None, mamba_n_heads=8).mamba_d_ssm == 128
    assert config.mamba_norm_before_gate
    assert not config.mamba_rms_norm


@pytest.mark.parametrize("spelling", [{"__float__": "Infinity"}, "Infinity", float("inf"), 1e30])
def test_steps_without_a_limit(spelling: Any) -> None:
    (least, most) = parse(time_step_limit=[0.0, spelling]).time_step_limit
    assert least == 0.0
    assert most >= 1e30


def test_what_the_config_switches() -> None:
    assert len(ops(RmsNormOp)) == 5
    assert len(ops(RmsNormOp, mamba_rms_norm=True)) == 7
    assert all(op.bias is not None for op in ops(ShortConvolutionOp))
    assert all(op.bias is None for op in ops(ShortConvolutionOp, mamba_conv_bias=False))
    (first, _) = ops(StateSpaceOp, time_step_limit=[0.01, 0.5])
    assert (first.parameters["least"], first.parameters["most"]) == (0.01, 0.5)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mlp_multipliers": [1.0]}, "mlp_multipliers"),
        ({"ssm_multipliers": [1.0] * 4}, "ssm_multipliers"),
        ({"ssm_multipliers": [1.0, "x", 1.0, 1.0, 1.0]}, "ssm_multipliers[1]"),
        ({"time_step_limit": [2.0, 1.0]}, "time_step_limit"),
        ({"time_step_limit": [-1.0, 1.0]}, "time_step_limit"),
        ({"mamba_d_ssm": 90}, "mamba_d_ssm"),
        ({"mamba_n_groups": 4}, "mamba_n_heads"),
        ({"mamba_d_conv": 1}, "mamba_d_conv"),
        ({"mamba_d_state": None}, "mamba_d_state"),
        ({"mamba_proj_bias": True}, "mamba_proj_bias"),
        ({"projectors_bias": True}, "projectors_bias"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mamba_use_mlp": False}, "mamba_use_mlp"),
        ({"sliding_window": 4096}, "sliding_window"),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    if "mamba_d_ssm" in fields:
        fields = fields | {"mamba_d_head": 14}
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {field}"


@pytest.mark.parametrize(
    "fields",
    [
        {"mamba_rms_norm": True, "mamba_norm_before_gate": False, "time_step_limit": [0.1, 0.6]},
        {"mamba_rms_norm": True, "tie_word_embeddings": True, "mamba_conv_bias": False},
        {"ssm_multipliers": None, "mamba_n_groups": 1, "mamba_d_conv": 3},
    ],
    ids=["after", "before", "none"],
)
def test_other_shapes_equal_the_reference(tmp_path: Path, fields: dict[str, Any]) -> None:
    write_checkpoint(tmp_path / "a", small(**fields))
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", dtype=Precision.FLOAT32)
    ids = np.arange(90) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids, chunk=37)
        assert json.loads(json.dumps(model.info()))["model"]["family"] == "falcon_h1"
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)


def test_every_gpu_has_kernels_for_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small())
    targets = tuple(f"cuda:sm_{each}" for each in (80, 89, 90, 100, 120))
    with emulated_code():
        compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", targets=targets)
