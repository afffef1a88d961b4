"""MiniCPM3: rules of its class, what is derived of its fields, what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.lower import lower_to_onnx
from sala_compile.passes.round_pages import PageStorage
from sala_compile.passes.support.quantization import Quantization, store_as_integers
from sala_compile.runtime.errors import CompileError, ConfigError, SalaError
from sala_compile.sala_ir.dialect import (
    EncodingAttr,
    EncodingKind,
    LatentAttentionOp,
    LogitsOp,
    ResidualAddOp,
    RopeOp,
    WeightOp,
    weight_type,
)
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def small(**fields: Any) -> dict[str, Any]:
    """A config.json of two layers as they are published; None leaves a field out."""
    config = {
        "model_type": "minicpm3",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "q_lora_rank": 20,
        "kv_lora_rank": 24,
        "qk_nope_head_dim": 10,
        "qk_rope_head_dim": 6,
        "rms_norm_eps": 1e-5,
        "scale_emb": 12,
        "scale_depth": 1.4,
        "dim_model_base": 16,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_what_follows_from_other_fields() -> None:
    config = parse(head_dim=99)
    assert (config.head_dim, config.qk_head_dim, config.v_head_dim) == (6, 16, 16)
    assert config.tie_word_embeddings
    assert parse(v_head_dim=9).v_head_dim == 9
    first, *_ = ops(ResidualAddOp)
    assert first.parameters["scale"] == pytest.approx(1.4 / math.sqrt(2))
    (logits,) = ops(LogitsOp)
    assert logits.parameters["scale"] == 0.25


def test_queries_are_rotated_after_the_part_that_meets_latents() -> None:
    queries, row, *_ = ops(RopeOp)
    assert (queries.parameters["start"], queries.parameters["head_dim"]) == (10, 16)
    assert (row.parameters["start"], row.parameters["head_dim"]) == (0, 6)


def test_a_scaling_of_all_dimensions_scales_the_scores() -> None:
    def scale(**fields: Any) -> float:
        return ops(LatentAttentionOp, **fields)[0].heads.data.scale

    assert scale() == 0.25
    assert scale(rope_scaling=YARN) == 0.25
    wanted = 0.25 * (0.1 * 0.7 * math.log(4.0) + 1.0) ** 2
    assert scale(rope_scaling=YARN | {"mscale_all_dim": 0.7}) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"num_key_value_heads": 2}, "num_key_value_heads"),
        ({"qk_head_dim": 15}, "qk_head_dim"),
        ({"kv_lora_rank": 23}, "kv_lora_rank"),
        ({"kv_lora_rank": None}, "kv_lora_rank"),
        ({"qk_rope_head_dim": 5}, "head_dim"),
        ({"qk_nope_head_dim": 0}, "qk_nope_head_dim"),
        ({"scale_emb": None}, "scale_emb"),
        ({"q_lora_rank": 0}, "q_lora_rank"),
        ({"num_experts": 8}, "num_experts"),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {field}"


def test_it_has_no_sparse_attention() -> None:
    with pytest.raises(ConfigError, match="no sparse attention"):
        frontend_for(small()).build_module(parse(), AttentionMode.SPARSE)


@pytest.mark.parametrize("quantization", [Quantization.INT4_G128, Quantization.INT8])
def test_integers(tmp_path: Path, quantization: Quantization) -> None:
    """What makes keys and values of latents stays as it is; what is left are errors of rounding."""
    write_checkpoint(tmp_path / "a", small(hidden_size=128, q_lora_rank=None))
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", quantization=quantization)
    manifest = json.loads((tmp_path / "a.sala" / "manifest.json").read_text())
    stored = manifest["quantization"]["tensors"]
    prefix = "model.layers.0.self_attn."
    assert stored[f"{prefix}kv_a_proj_with_mqa.weight"]["encoding"] != "plain"
    assert stored[f"{prefix}kv_b_proj.weight"]["encoding"] == "plain"
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    limit = 0.5 if quantization is Quantization.INT4_G128 else 0.1
    assert np.sqrt(np.mean((found - wanted) ** 2)) < limit * wanted.std()


def test_integers_of_a_checkpoint_that_make_keys_and_values_are_read_as_their_values() -> None:
    module = frontend_for(small()).build_module(parse())
    encoding = EncodingAttr(EncodingKind.INT8, 128)
    names = [f"model.layers.0.self_attn.{name}.weight" for name in ("kv_b_proj", "q_b_proj")]
    store_as_integers(module, dict.fromkeys(names, encoding))
    module.verify()
    found = {op.tensor_name.data: op for op in module.walk() if isinstance(op, WeightOp)}
    plain = [weight_type(found[name].result).encoding.is_plain for name in names]
    assert plain == [True, False]


def test_rounded_pages_are_refused_by_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small())
    with pytest.raises(CompileError, match="keeps latents") as caught:
        compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", kv=PageStorage.K8V4)
    assert caught.value.where == "--kv"


def test_a_gpu_and_onnx_refuse_it_by_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small())
    with pytest.raises(SalaError, match=r"head_linear|attend_latents|rope"):
        compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", targets=("cuda:sm_90",))
    with pytest.raises(CompileError, match=r"no form in ONNX: !sala\.latent_cache"):
        lower_to_onnx(frontend_for(small()).build_module(parse()), OnnxElement.FLOAT32)
