"""OLMo Hybrid: defaults and rules of its class, names of its tensors, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sala_compile
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import (
    GatedDeltaOp,
    ResidualAddOp,
    RmsNormOp,
    RopeOp,
    ShortConvolutionOp,
)
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.emulated_gpu import emulated_code

DELTA, ATTENTION = "linear_attention", "full_attention"


def small(**fields: Any) -> dict[str, Any]:
    """A config.json of two layers as they are published; None leaves a field out."""
    config = {
        "model_type": "olmo_hybrid",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "layer_types": [DELTA, ATTENTION],
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "linear_key_head_dim": 10,
        "linear_value_head_dim": 18,
        "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_defaults() -> None:
    config = parse()
    assert (config.linear_num_key_heads, config.linear_num_value_heads) == (4, 4)
    assert (config.head_dim, config.linear_conv_kernel_dim) == (16, 4)
    assert config.linear_allow_neg_eigval
    (delta,) = ops(GatedDeltaOp)
    assert delta.parameters["rate_scale"] == 2.0
    (delta,) = ops(GatedDeltaOp, linear_allow_neg_eigval=False)
    assert delta.parameters["rate_scale"] == 1.0
    assert len(ops(ShortConvolutionOp)) == 3


def test_nothing_is_rotated_without_a_base() -> None:
    assert len(ops(RopeOp)) == 2
    assert ops(RopeOp, rope_parameters=None) == []


def test_norms_come_before_the_delta_rule_and_after_attention() -> None:
    branches = [op.x.owner for op in ops(ResidualAddOp)]
    assert [isinstance(op, RmsNormOp) for op in branches] == [False, False, True, True]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"layer_types": [DELTA]}, "layer_types"),
        ({"layer_types": [DELTA, "sliding_attention"]}, "layer_types"),
        ({"layer_types": [DELTA, 3]}, "layer_types"),
        ({"layer_types": "all"}, "layer_types"),
        ({"layer_types": None}, "layer_types"),
        ({"linear_num_key_heads": 3}, "linear_num_value_heads"),
        ({"linear_conv_kernel_dim": 1}, "linear_conv_kernel_dim"),
        ({"linear_key_head_dim": None}, "linear_key_head_dim"),
        ({"linear_value_head_dim": 0}, "linear_value_head_dim"),
        ({"sliding_window": 4096}, "sliding_window"),
        ({"num_experts": 8}, "num_experts"),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {field}"


def test_names_that_transformers_saves_are_taken(tmp_path: Path) -> None:
    """And filters [columns, 1, taps], which the random checkpoint has as matrices."""
    write_checkpoint(tmp_path / "a", small())
    write_checkpoint(tmp_path / "b", small())
    place = next((tmp_path / "b").glob("*.safetensors"))
    tensors = load_file(place)
    layer = "model.layers.1."
    norm = tensors.pop(f"{layer}post_attention_layernorm.weight")
    tensors[f"{layer}feedforward_layer_norm.weight"] = norm
    for name in [name for name in tensors if "conv1d" in name]:
        tensors[name] = np.ascontiguousarray(tensors[name][:, None, :])
    save_file(tensors, place)
    ids = np.arange(70) % 131
    found = []
    for name in ("a", "b"):
        compile_checkpoint(tmp_path / name, tmp_path / f"{name}.sala", dtype=Precision.FLOAT32)
        with sala_compile.load(tmp_path / f"{name}.sala", context=128) as model:
            found.append(model.logits(ids))
    np.testing.assert_array_equal(*found)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("quantization", [Quantization.INT4_G128, Quantization.INT8])
def test_integers(tmp_path: Path, quantization: Quantization) -> None:
    """Taps, decays and norms stay as they are; what is left are errors of rounding."""
    write_checkpoint(tmp_path / "a", small(hidden_size=128, head_dim=32))
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", quantization=quantization)
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    limit = 0.5 if quantization is Quantization.INT4_G128 else 0.1
    assert np.sqrt(np.mean((found - wanted) ** 2)) < limit * wanted.std()


def test_every_gpu_has_kernels_for_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small())
    targets = tuple(f"cuda:sm_{each}" for each in (80, 89, 90, 100, 120))
    with emulated_code():
        compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", targets=targets)
