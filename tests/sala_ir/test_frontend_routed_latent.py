"""Kimi Linear and Bailing hybrid: published configs, other names, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sala_compile
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.lower import lower_to_onnx
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import CompileError, ConfigError, SalaError
from sala_compile.sala_ir.dialect import GatedDeltaOp, LatentAttentionOp, RopeOp, RouteOp
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

KIMI, BAILING = "kimi_linear", "bailing_hybrid"
DELTA, ATTENTION = "linear_attention", "full_attention"
SIZES = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 6,
    "v_head_dim": 12,
    "moe_intermediate_size": 32,
    "routed_scaling_factor": 2.446,
    "rms_norm_eps": 1e-5,
}
OWN: dict[str, dict[str, Any]] = {
    KIMI: {
        "head_dim": 72,
        "q_lora_rank": None,
        "num_experts": 8,
        "num_experts_per_token": 2,
        "num_shared_experts": 1,
        "num_expert_group": 1,
        "topk_group": 1,
        "moe_renormalize": True,
        "moe_layer_freq": 1,
        "moe_router_activation_func": "sigmoid",
        "use_grouped_topk": True,
        "mla_use_nope": True,
        "first_k_dense_replace": 1,
        "model_max_length": 4096,
        "linear_attn_config": {
            "full_attn_layers": [4],
            "kda_layers": [1, 2, 3],
            "head_dim": 16,
            "num_heads": 3,
            "short_conv_kernel_size": 4,
        },
    },
    BAILING: {
        "head_dim": 16,
        "layer_group_size": 2,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_shared_experts": 1,
        "n_group": 4,
        "topk_group": 2,
        "short_conv_kernel_size": 3,
        "first_k_dense_replace": 1,
        "rope_theta": 6000000.0,
    },
}


def small(family: str, **fields: Any) -> dict[str, Any]:
    """A config.json of four layers as it is published; None leaves a field out."""
    config = {"model_type": family, **SIZES, **OWN[family]} | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(family: str, **fields: Any) -> Any:
    raw = small(family, **fields)
    return frontend_for(raw).parse_config(raw, file="config.json")


def ops(kind: type, family: str, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small(family)).build_module(parse(family, **fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_kimi_as_it_is_published() -> None:
    config = parse(KIMI)
    assert config.layer_types == (DELTA, DELTA, DELTA, ATTENTION)
    assert config.mlp_layer_types == ("dense", "sparse", "sparse", "sparse")
    assert (config.linear_num_heads, config.linear_head_dim) == (3, 16)
    assert (config.num_experts_per_tok, config.max_position_embeddings) == (2, 4096)
    raw = small(KIMI)
    assert frontend_for(raw).config_notes(raw, config, "config.json") == ()
    assert ops(RopeOp, KIMI) == []
    assert len(ops(LatentAttentionOp, KIMI)) == 1
    delta, *_ = ops(GatedDeltaOp, KIMI)
    assert delta.has_channel_decay
    assert delta.parameters["lower_bound"] == 0


def test_bailing_as_it_is_published() -> None:
    config = parse(BAILING)
    assert config.layer_types == (DELTA, ATTENTION) * 2
    assert (config.linear_num_heads, config.linear_head_dim, config.head_dim) == (4, 16, 6)
    assert config.linear_conv_kernel_dim == 3
    delta, *_ = ops(GatedDeltaOp, BAILING)
    assert delta.parameters["lower_bound"] == -5.0
    delta, *_ = ops(GatedDeltaOp, BAILING, kda_safe_gate=False)
    assert delta.parameters["lower_bound"] == 0
    assert all(op.parameters["interleaved"] for op in ops(RopeOp, BAILING))
    route, *_ = ops(RouteOp, BAILING)
    assert (route.parameters["groups"], route.parameters["chosen_groups"]) == (4, 2)


@pytest.mark.parametrize(
    ("family", "fields", "field"),
    [
        (KIMI, {"linear_attn_config": None}, "layer_types"),
        (KIMI, {"layer_types": [DELTA]}, "layer_types"),
        (KIMI, {"layer_types": [DELTA, "other"] * 2}, "layer_types"),
        (KIMI, {"num_local_experts": 9}, "num_local_experts"),
        (KIMI, {"num_experts_per_token": 9}, "num_experts_per_tok"),
        (KIMI, {"num_expert_group": 3}, "num_experts"),
        (KIMI, {"topk_group": 2}, "topk_group"),
        (KIMI, {"mla_use_nope": False}, "mla_use_nope"),
        (KIMI, {"moe_router_activation_func": "softmax"}, "moe_router_activation_func"),
        (KIMI, {"mlp_layer_types": ["dense"]}, "mlp_layer_types"),
        (KIMI, {"moe_intermediate_size": None}, "moe_intermediate_size"),
        (BAILING, {"q_lora_rank": 8}, "q_lora_rank"),
        (BAILING, {"kda_lower_bound": 1.0}, "kda_lower_bound"),
        (BAILING, {"short_conv_kernel_size": 1}, "linear_conv_kernel_dim"),
        (BAILING, {"layer_group_size": None}, "layer_types"),
        (BAILING, {"score_function": "softmax"}, "score_function"),
    ],
    ids=str,
)
def test_what_is_refused(family: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(family, **fields)
    assert caught.value.where == f"config.json: {field}"


def test_names_and_shapes_that_transformers_saves_are_taken(tmp_path: Path) -> None:
    """And layers for drafting, which are not read."""
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, small(KIMI))
    place = next((tmp_path / "b").glob("*.safetensors"))
    tensors = load_file(place)
    for part in ("gate", "up", "down"):
        layer, name = "model.layers.0.", f"{part}_proj.weight"
        tensors[f"{layer}block_sparse_moe.{name}"] = tensors.pop(f"{layer}mlp.{name}")
    for name in [name for name in tensors if name.endswith("A_log")]:
        tensors[name] = tensors[name].reshape(1, 1, -1, 1)
    tensors["model.layers.4.input_layernorm.weight"] = np.ones(64, np.float32)
    save_file(tensors, place)
    ids, found = np.arange(70) % 131, []
    for name in ("a", "b"):
        compile_checkpoint(tmp_path / name, tmp_path / f"{name}.sala")
        with sala_compile.load(tmp_path / f"{name}.sala", context=128) as model:
            found.append(model.logits(ids))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("family", [KIMI, BAILING])
def test_integers(tmp_path: Path, family: str) -> None:
    """What is left are errors of rounding; every expert is chosen, so that none is by another."""
    alone = {"num_expert_group": None, "n_group": 1, "topk_group": 1}
    every = {"num_experts": 4, "num_experts_per_token": None, "num_experts_per_tok": 4}
    write_checkpoint(tmp_path / "a", small(family, hidden_size=128, **alone, **every))
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", quantization=Quantization.INT8)
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1 * wanted.std()


@pytest.mark.parametrize("family", [KIMI, BAILING])
def test_a_gpu_and_onnx_refuse_it_by_name(tmp_path: Path, family: str) -> None:
    write_checkpoint(tmp_path / "a", small(family))
    with pytest.raises(SalaError, match=r"sala\.(route|head_linear|attend_latents)"):
        compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", targets=("cuda:sm_90",))
    module = frontend_for(small(family)).build_module(parse(family))
    with pytest.raises(CompileError, match=r"no form in ONNX: !sala\.latent_cache"):
        lower_to_onnx(module, OnnxElement.FLOAT32)
