"""GLM-5.3-Flash: configs of one table and of two, shared indexers, states, what is refused."""

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
from sala_compile.sala_ir.dialect import (
    ConnectStreamsOp,
    ExpertUpOp,
    GatedDeltaOp,
    LatentAttentionOp,
    PoolTokensOp,
    SelectPoolsOp,
    SwigluOp,
)
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

DELTA, ATTENTION = "linear_attention", "indexed_attention"
KINDS = (DELTA, ATTENTION, ATTENTION, DELTA)
TEXT: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "q_lora_rank": 20,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 10,
    "v_head_dim": 12,
    "moe_intermediate_size": 32,
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    "layer_types": list(KINDS),
    "indexer_types": ["full", "full", "shared", "full"],
    "linear_head_dim": 16,
    "linear_num_heads": 3,
    "index_topk": 24,
    "index_head_dim": 16,
    "index_n_heads": 3,
    "index_kpool": 8,
    "hc_mult": 3,
    "tie_word_embeddings": False,
}


def flat(**fields: Any) -> dict[str, Any]:
    """A config.json of one table; null leaves a field out, but for a bound."""
    config = {"model_type": "glm5_next", **TEXT} | fields
    return {k: v for k, v in config.items() if v is not None or k == "linear_lower_bound"}


def nested(**fields: Any) -> dict[str, Any]:
    """A config.json of two tables."""
    text = flat(**fields) | {"model_type": "glm5_next_text"}
    return {"model_type": "glm5_next", "text_config": text, "vision_config": {"depth": 1}}


def parse(**fields: Any) -> Any:
    raw = flat(**fields)
    return frontend_for(raw).parse_config(raw, file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(flat()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_one_table_and_two_say_the_same() -> None:
    raw = nested() | {"image_token_id": 3, "tie_word_embeddings": False}
    config = frontend_for(raw).parse_config(raw)
    assert config == parse()
    assert frontend_for(raw).config_notes(raw, config, "config.json") == ()
    unknown = nested(color=3)
    (note,) = frontend_for(unknown).config_notes(unknown, config, "config.json")
    assert note.endswith("color")


def test_defaults_are_those_of_transformers() -> None:
    left = ("layer_types", "indexer_types", "mlp_layer_types", "index_topk", "index_kpool")
    config = parse(**dict.fromkeys((*left, "hc_mult", "index_head_dim")), num_hidden_layers=9)
    assert config.layer_types == (DELTA, DELTA, DELTA, ATTENTION) * 2 + (DELTA,)
    assert config.mlp_layer_types == ("dense",) * 3 + ("sparse",) * 6
    assert config.indexer_types == ("full",) * 9
    assert (config.index_topk, config.index_kpool, config.hc_mult) == (2048, 16, 4)
    assert config.linear_lower_bound == -5.0


def test_indexers_by_pattern_and_by_turns() -> None:
    kinds = {"layer_types": ["full_attention"] * 4, "indexer_types": None}
    assert parse(**kinds, index_topk_pattern="FSFS").indexer_types == ("full", "shared") * 2
    turns = parse(**kinds, index_topk_freq=2, index_skip_topk_offset=1)
    assert turns.indexer_types == ("full", "shared") * 2
    assert turns.layer_types == (ATTENTION,) * 4


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({}, -5.0),
        ({"linear_lower_bound": None}, 0.0),
        ({"linear_lower_bound": -2.0}, -2.0),
        ({"linear_attn_config": {"gate_lower_bound": -3.0}}, -3.0),
        ({"linear_attn_config": {"gate_lower_bound": None}}, -5.0),
        ({"linear_attn_config": {"gate_lower_bound": None, "safe_gate": False}}, 0.0),
        ({"linear_attn_config": {"safe_gate": False}, "linear_lower_bound": None}, 0.0),
    ],
    ids=str,
)
def test_bounds_of_decays(fields: dict[str, Any], bound: float) -> None:
    delta, *_ = ops(GatedDeltaOp, **fields)
    assert delta.parameters["lower_bound"] == bound


def test_sizes_of_the_table_of_linear_attention_come_first() -> None:
    table = {"head_dim": 8, "num_heads": 2, "short_conv_kernel_size": 3}
    config = parse(linear_attn_config=table)
    sizes = (config.linear_head_dim, config.linear_num_heads, config.linear_conv_kernel_dim)
    assert sizes == (8, 2, 3)


def test_a_shared_indexer_is_that_of_the_layer_before() -> None:
    first, second = ops(LatentAttentionOp)
    (select,) = ops(SelectPoolsOp)
    assert (first.layer, second.layer, select.layer) == (1, 2, 1)
    assert first.selection is second.selection
    assert select.parameters["count"] == 3
    assert all(op.rotary is None for op in (first, second))


def test_limits_streams_and_pools() -> None:
    fields = {"swiglu_limit": 7.0, "index_kpool": 1, "hc_sinkhorn_iters": 5, "hc_eps": 1e-3}
    assert {op.parameters["limit"] for op in ops(SwigluOp, **fields)} == {7.0}
    assert {op.parameters["limit"] for op in ops(ExpertUpOp, **fields)} == {7.0}
    assert ops(PoolTokensOp, **fields) == []
    connections = ops(ConnectStreamsOp, **fields)
    assert len(connections) == 8
    assert connections[0].parameters == {
        **{"streams": 3, "iterations": 5, "eps": 1e-3, "norm_eps": 1e-5},
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"index_kpool_always_select_tail": False}, "index_kpool_always_select_tail"),
        ({"qk_rope_head_dim": 4}, "qk_rope_head_dim"),
        ({"q_lora_rank": None}, "q_lora_rank"),
        ({"index_kpool": 12}, "index_kpool"),
        ({"index_kpool": 0}, "index_kpool"),
        ({"index_topk": 20}, "index_topk"),
        ({"index_head_dim": 15}, "index_head_dim"),
        ({"indexer_types": ["full", "shared", "full", "full"]}, "indexer_types[1]"),
        ({"indexer_types": ["full"] * 3}, "indexer_types"),
        ({"indexer_types": None, "index_topk_pattern": "FFXF"}, "indexer_types[2]"),
        ({"layer_types": [ATTENTION] * 4, "indexer_types": ["shared"] * 4}, "indexer_types[0]"),
        ({"layer_types": [DELTA]}, "layer_types"),
        ({"layer_types": [DELTA, "other"] * 2}, "layer_types"),
        ({"num_key_value_heads": 2}, "num_key_value_heads"),
        ({"linear_lower_bound": 1.0}, "linear_lower_bound"),
        ({"linear_conv_kernel_dim": 1}, "linear_conv_kernel_dim"),
        ({"hc_mult": 9}, "hc_mult"),
        ({"hc_sinkhorn_iters": 0}, "hc_sinkhorn_iters"),
        ({"swiglu_limit": 0.0}, "swiglu_limit"),
        ({"num_local_experts": 9}, "n_routed_experts"),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    for raw, place in ((flat(**fields), ""), (nested(**fields), "text_config.")):
        with pytest.raises(ConfigError) as caught:
            frontend_for(raw).parse_config(raw, file="config.json")
        assert caught.value.where == f"config.json: {place}{field}"
        assert caught.value.fix


def test_tables_that_disagree_on_the_head_are_refused() -> None:
    raw = nested() | {"tie_word_embeddings": True}
    with pytest.raises(ConfigError) as caught:
        frontend_for(raw).parse_config(raw, file="config.json")
    assert caught.value.where == "config.json: text_config.tie_word_embeddings"


def test_names_without_a_table_and_what_is_not_read(tmp_path: Path) -> None:
    """What sees and what drafts is left out, and so is a gate of pools of one token."""
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, flat(index_kpool=1))
    place = next((tmp_path / "b").glob("*.safetensors"))
    root, other = "model.language_model.", np.ones(64, np.float32)
    tensors = {name.replace(root, "model."): value for name, value in load_file(place).items()}
    tensors |= {"model.visual.blocks.0.norm.weight": other, "model.layers.4.norm.weight": other}
    tensors["model.layers.1.self_attn.indexer.index_kpool_compress_gate"] = other
    save_file(tensors, place)
    ids, found = np.arange(70) % 131, []
    for name in ("a", "b"):
        compile_checkpoint(tmp_path / name, tmp_path / f"{name}.sala")
        with sala_compile.load(tmp_path / f"{name}.sala", context=128) as model:
            found.append(model.logits(ids))
    np.testing.assert_array_equal(*found)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that chooses 3 pools of 8 tokens."""
    return write_checkpoint(tmp_path_factory.mktemp("glm") / "checkpoint", nested())


def test_states_hold_pools_that_are_open(checkpoint: Path, tmp_path: Path) -> None:
    """Cuts, forks, what is saved and what is cut off end inside of pools."""
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(1).integers(0, 131, 150)
    wanted = reference_model(checkpoint).prefill(ids.tolist())
    with sala_compile.load(
        tmp_path / "model.sala", context=256, batch=4, chunk=64, snapshots=2
    ) as model:
        np.testing.assert_allclose(model.logits(ids), wanted, rtol=0, atol=1e-3)
        with model.sequence() as alone:
            alone.append(ids[:75])
            rows = [alone.append([int(token)]) for token in ids[75:90]]
        np.testing.assert_allclose(np.stack(rows), wanted[75:90], rtol=0, atol=1e-3)
        sequence = model.sequence()
        sequence.append(ids[:75])
        sequence.snapshot()
        sequence.save(tmp_path / "state")
        others = [sequence.fork(), model.restore(tmp_path / "state"), sequence]
        sequence.append(ids[75:101])
        sequence.truncate(75)
        for each in others:
            found = [each.append([int(token)]) for token in ids[75:90]]
            np.testing.assert_array_equal(np.stack(found), np.stack(rows))
            each.close()


def test_pages_hold_whole_pools(tmp_path: Path) -> None:
    """Other sizes give the same logits; sizes that cut a pool are refused by name."""
    raw, ids = flat(index_kpool=64, index_topk=64), np.arange(150) % 131
    checkpoint = write_checkpoint(tmp_path / "a", raw)
    with pytest.raises(CompileError, match="pages of 96 tokens are no whole blocks of 64"):
        compile_checkpoint(checkpoint, tmp_path / "a.sala", page_size=96)
    wanted = reference_model(checkpoint).prefill(ids.tolist())
    compile_checkpoint(checkpoint, tmp_path / "a.sala", page_size=128)
    with sala_compile.load(tmp_path / "a.sala", context=256) as model:
        np.testing.assert_allclose(model.logits(ids), wanted, rtol=0, atol=1e-3)


def test_integers(tmp_path: Path) -> None:
    """What is left are errors of rounding; every expert and every pool is chosen."""
    every = {"num_experts_per_tok": 6, "index_topk": 128, "hidden_size": 128}
    write_checkpoint(tmp_path / "a", flat(**every))
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", quantization=Quantization.INT8)
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1 * wanted.std()


def test_a_gpu_and_onnx_refuse_it_by_name(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SalaError, match=r"spread_streams|short_convolution"):
        compile_checkpoint(checkpoint, tmp_path / "a.sala", targets=("cuda:sm_90",))
    module = frontend_for(flat()).build_module(parse())
    with pytest.raises(CompileError, match=r"no form in ONNX: !sala\.latent_cache"):
        lower_to_onnx(module, OnnxElement.FLOAT32)
