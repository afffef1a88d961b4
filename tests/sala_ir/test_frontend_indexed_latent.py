"""DeepSeek-V3.2 and GLM-5: published configs, kinds of indexers, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sala_compile
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import LatentAttentionOp, LinearOp, RopeOp, SelectPoolsOp
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

DEEPSEEK, GLM = "deepseek_v32", "glm_moe_dsa"
YARN = {
    "type": "yarn",
    "factor": 40,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
}
SIZES = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 22,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 6,
    "v_head_dim": 12,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 32,
    "moe_layer_freq": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "norm_topk_prob": True,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "ep_size": 1,
    "index_topk": 40,
    "index_head_dim": 16,
    "index_n_heads": 5,
    "num_nextn_predict_layers": 1,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
OWN: dict[str, dict[str, Any]] = {
    DEEPSEEK: {"rope_theta": 10000, "rope_scaling": YARN},
    GLM: {"rope_parameters": {"rope_theta": 1000000, "rope_type": "default"}},
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


@pytest.mark.parametrize("family", [DEEPSEEK, GLM])
def test_as_they_are_published(family: str) -> None:
    raw, config = small(family), parse(family)
    assert frontend_for(raw).config_notes(raw, config, "config.json") == ()
    assert config.mlp_layer_types == ("dense", "sparse", "sparse", "sparse")
    assert config.indexer_types == ("full",) * 4
    chosen = ops(SelectPoolsOp, family)
    assert [(op.count.value.data, op.heads.value.data) for op in chosen] == [(40, 5)] * 4
    assert all(op.scale.value.data == 0.25 for op in chosen)
    assert [op.pool.value.data for op in ops(LatentAttentionOp, family)] == [1] * 4
    scales = [op.scale.value.data for op in ops(LinearOp, family) if op.scale.value.data != 1.0]
    assert scales == [5**-0.5] * 4


@pytest.mark.parametrize(("family", "pairs"), [(DEEPSEEK, 0), (GLM, 1)])
def test_indexers_rotate_the_first_columns_in_their_own_way(family: str, pairs: int) -> None:
    found = [
        (op.head_dim.value.data, op.start.value.data, op.parameters["interleaved"])
        for op in ops(RopeOp, family, num_hidden_layers=1)
    ]
    assert sorted(found) == sorted([(16, 0, pairs)] * 2 + [(16, 10, 1), (6, 0, 1)])


def test_the_scores_of_deepseek_have_the_factor_of_yarn() -> None:
    (attend,) = ops(LatentAttentionOp, DEEPSEEK, num_hidden_layers=1)
    factor = (0.1 * np.log(40.0) + 1.0) ** 2
    assert attend.heads.data.scale == pytest.approx(16**-0.5 * factor)


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"index_topk_pattern": "FSSF"}, "FSSF"),
        ({"index_topk_pattern": ["full", "full", "shared", "full"]}, "FFSF"),
        ({"indexer_types": ["full", "shared", "shared", "shared"]}, "FSSS"),
        ({"indexer_types": ["full"] * 4, "index_topk_pattern": "FSSF"}, "FFFF"),
        ({"index_topk_freq": 2}, "FFSF"),
        ({"index_topk_freq": 3, "index_skip_topk_offset": 1}, "FSSF"),
        ({"index_topk_freq": 4, "index_skip_topk_offset": 3}, "FFFS"),
        ({"index_topk_freq": 0}, "FFFF"),
    ],
    ids=str,
)
def test_kinds_of_indexers(fields: dict[str, Any], kinds: str) -> None:
    config = parse(GLM, **fields)
    assert "".join(kind[0].upper() for kind in config.indexer_types) == kinds
    chosen = ops(SelectPoolsOp, GLM, **fields)
    assert [op.layer for op in chosen] == [n for n, kind in enumerate(kinds) if kind == "F"]
    own = {op.layer: op.selection for op in chosen}
    for attend in ops(LatentAttentionOp, GLM, **fields):
        before = max(layer for layer in own if layer <= attend.layer)
        assert attend.selection is not None
        assert attend.selection.name_hint == own[before].name_hint
    states = frontend_for(small(GLM)).build_module(config)
    assert str(states).count("layers.1.indexer_keys") == (kinds[1] == "F")


@pytest.mark.parametrize(
    ("family", "fields", "field"),
    [
        (DEEPSEEK, {"q_lora_rank": None}, "q_lora_rank"),
        (DEEPSEEK, {"index_topk": 0}, "index_topk"),
        (DEEPSEEK, {"index_head_dim": 15}, "index_head_dim"),
        (DEEPSEEK, {"index_head_dim": 4}, "index_head_dim"),
        (DEEPSEEK, {"index_n_heads": 0}, "index_n_heads"),
        (DEEPSEEK, {"indexer_types": ["full", "shared"] * 2}, "indexer_types"),
        (DEEPSEEK, {"indexer_rope_interleave": True}, "indexer_rope_interleave"),
        (DEEPSEEK, {"scoring_func": "softmax"}, "scoring_func"),
        (DEEPSEEK, {"topk_method": "greedy"}, "topk_method"),
        (DEEPSEEK, {"layer_types": ["full_attention"] * 4}, "layer_types"),
        (DEEPSEEK, {"n_group": 3}, "num_experts"),
        (DEEPSEEK, {"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        (GLM, {"indexer_types": ["full"] * 3}, "indexer_types"),
        (GLM, {"indexer_types": ["shared"] + ["full"] * 3}, "indexer_types[0]"),
        (GLM, {"indexer_types": ["full", "other"] * 2}, "indexer_types"),
        (GLM, {"index_topk_pattern": "FSX"}, "index_topk_pattern"),
        (GLM, {"index_topk_pattern": "FS"}, "indexer_types"),
        (GLM, {"index_topk_pattern": ["full", 1, 2, 3]}, "indexer_types[1]"),
        (GLM, {"index_topk_freq": "2"}, "index_topk_freq"),
        (GLM, {"index_skip_topk_offset": 1.5}, "index_skip_topk_offset"),
        (GLM, {"rope_interleave": False}, "rope_interleave"),
    ],
    ids=str,
)
def test_what_is_refused(family: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(family, **fields)
    assert caught.value.where == f"config.json: {field}"


def test_layers_for_drafting_are_not_read_and_biases_are(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small(GLM, attention_bias=True, index_topk_pattern="FSFS"))
    place = next((tmp_path / "a").glob("*.safetensors"))
    tensors = load_file(place)
    biases = [name for name in tensors if name.endswith(".bias") and "norm" not in name]
    assert {name.rpartition("self_attn.")[2] for name in biases} == {
        *("q_a_proj.bias", "kv_a_proj_with_mqa.bias", "o_proj.bias"),
    }
    tensors["model.layers.4.enorm.weight"] = np.ones(64, np.float32)
    save_file(tensors, place)
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala")
    ids = np.arange(150) * 7 % 131
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    with sala_compile.load(tmp_path / "a.sala", context=256) as model:
        np.testing.assert_allclose(model.logits(ids), wanted, rtol=0, atol=1e-3)
