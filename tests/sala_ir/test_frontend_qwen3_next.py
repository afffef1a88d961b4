"""Qwen3-Next: defaults and rules of its class, names of its tensors, experts, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sala_compile
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.support.quantization import Quantization, quantized_tensors
from sala_compile.runtime.errors import CheckpointError, ConfigError, SalaError
from sala_compile.sala_ir.dialect import (
    ExpertDownOp,
    GatedDeltaOp,
    OffsetWeightOp,
    RmsNormOp,
    RopeTableOp,
    RouteOp,
    columns_of,
)
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

DELTA, ATTENTION = "linear_attention", "full_attention"


def small(**fields: Any) -> dict[str, Any]:
    """A config.json of two layers; None leaves a field out."""
    config = {
        "model_type": "qwen3_next",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "layer_types": [DELTA, ATTENTION],
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 10,
        "linear_value_head_dim": 18,
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 40,
        "shared_expert_intermediate_size": 24,
        "rope_theta": 1e6,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_every_fourth_layer_attends_where_none_are_listed() -> None:
    config = parse(layer_types=None, num_hidden_layers=8)
    assert [kind.value for kind in config.layer_types] == ([DELTA] * 3 + [ATTENTION]) * 2
    config = parse(layer_types=None, num_hidden_layers=4, full_attention_interval=2)
    assert [kind.value for kind in config.layer_types] == [DELTA, ATTENTION] * 2


def test_a_part_of_each_head_is_rotated() -> None:
    assert columns_of(ops(RopeTableOp)[0].result) == 8
    inside = {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}
    assert parse(rope_parameters=inside, rope_theta=None).rotated == 16
    assert parse(partial_rotary_factor=1.0).rotated == 32
    assert ops(RopeTableOp, layer_types=[DELTA, DELTA]) == []


def test_weights_of_norms_are_stored_less_one_but_for_that_after_the_delta_rule() -> None:
    plain = [op for op in ops(RmsNormOp) if not isinstance(op.weight.owner, OffsetWeightOp)]
    assert len(ops(RmsNormOp)) == 2 * 2 + 1 + 2 + 1
    assert [columns_of(op.x) for op in plain] == [4 * 18]


def test_which_layers_have_experts() -> None:
    assert [op.layer for op in ops(ExpertDownOp)] == [0, 1]
    assert [op.layer for op in ops(ExpertDownOp, decoder_sparse_step=2)] == [1]
    assert [op.layer for op in ops(ExpertDownOp, mlp_only_layers=[1])] == [0]
    assert ops(ExpertDownOp, num_experts=0) == []
    assert ops(RouteOp, norm_topk_prob=False)[0].parameters["normalised"] == 0
    assert len(ops(GatedDeltaOp)) == 1


def test_routers_are_sensitive_and_experts_are_not() -> None:
    module = frontend_for(small()).build_module(parse())
    found = quantized_tensors(module, Quantization.INT4_G32)
    label = {name.removeprefix("model.layers.1.mlp."): each.label for name, each in found.items()}
    assert label["gate.weight"] == label["shared_expert_gate.weight"] == "int8-g128"
    assert {label[f"experts.{e}.{n}_proj.weight"] for e in range(5) for n in ("gate", "down")} == {
        "int4-g32"
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"layer_types": [DELTA]}, "layer_types"),
        ({"layer_types": [DELTA, "sliding_attention"]}, "layer_types"),
        ({"linear_num_key_heads": 3}, "linear_num_value_heads"),
        ({"linear_conv_kernel_dim": 1}, "linear_conv_kernel_dim"),
        ({"partial_rotary_factor": 0.01}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
        ({"num_experts_per_tok": 6}, "num_experts_per_tok"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok"),
        ({"mlp_only_layers": [-1]}, "mlp_only_layers[0]"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 4096}, "sliding_window"),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}, "partial_rotary_factor": 0.25},
            "rope_parameters.partial_rotary_factor",
        ),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {field}"


def test_layers_for_drafting_are_not_read_and_a_missing_expert_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small())
    place = next((tmp_path / "a").glob("*.safetensors"))
    tensors = load_file(place)
    tensors["mtp.layers.0.mlp.gate.weight"] = np.zeros((5, 64), np.float32)
    save_file(tensors, place)
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala")
    del tensors["model.layers.1.mlp.experts.3.up_proj.weight"]
    save_file(tensors, place)
    with pytest.raises(CheckpointError, match=r"1 tensor is missing") as caught:
        compile_checkpoint(tmp_path / "a", tmp_path / "b.sala")
    assert "experts.3.up_proj.weight" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"quantization": Quantization.INT4_G32}, 0.5),
        ({"quantization": Quantization.INT8}, 0.1),
        ({"quantization": Quantization.INT8, "activations": Activations.INT8}, 0.2),
    ],
    ids=str,
)
def test_integers(tmp_path: Path, options: dict[str, Any], limit: float) -> None:
    """Errors of rounding, and of experts that are near the last chosen one."""
    raw = small(hidden_size=128, num_experts_per_tok=5)
    write_checkpoint(tmp_path / "a", raw)
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", **options)
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    assert np.sqrt(np.mean((found - wanted) ** 2)) < limit * wanted.std()


def test_a_gpu_refuses_it_by_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small(layer_types=[ATTENTION, ATTENTION]))
    with pytest.raises(SalaError, match=r"route|expert"):
        compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", targets=("cuda:sm_90",))
