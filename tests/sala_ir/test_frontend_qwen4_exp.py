"""Qwen4-Exp: configs of both forms, what is refused, what the graph has, and tensors left alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sala_compile
from sala_compile.passes.round_pages import PageStorage
from sala_compile.runtime.errors import CheckpointError, ConfigError, SalaError
from sala_compile.sala_ir.dialect import (
    GatedDeltaOp,
    NgramEmbeddingOp,
    RopeTableOp,
    SelectedAttentionOp,
    SelectPoolsOp,
    SoftmaxAttentionOp,
    plain,
)
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from sala_compile.sala_ir.frontends.kit.ngram_hashes import multipliers, primes_from
from tests.support.checkpoints import reference_model
from tests.support.compiled import GOLDEN, compile_checkpoint

FLAT = GOLDEN / "qwen4_exp-text-a"
NESTED = GOLDEN / "qwen4_exp-a"


def raw_of(place: Path, **changed: Any) -> dict[str, Any]:
    """A golden config whose text has these fields, None for absent."""
    raw = json.loads((place / "config.json").read_text())
    text = raw.get("text_config", raw)
    for name, value in changed.items():
        if value is None:
            text.pop(name, None)
        else:
            text[name] = value
    return raw


def ops(kind: type[Any], raw: dict[str, Any], mode: AttentionMode = AttentionMode.CONFIG) -> Any:
    """The operations of a kind in the captured graph."""
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw), mode)
    return [op for op in module.walk() if isinstance(op, kind)]


def test_layers_are_what_the_config_says() -> None:
    raw = raw_of(NESTED)
    assert [op.layer for op in ops(GatedDeltaOp, raw)] == [0, 2]
    assert [op.layer for op in ops(SelectedAttentionOp, raw)] == [1, 3]
    assert [op.layer for op in ops(NgramEmbeddingOp, raw)] == [0, 2]
    (select, _) = ops(SelectPoolsOp, raw)
    assert (select.pool, select.count.value.data) == (8, 8)
    offsets = [op.parameters["position_offset"] for op in ops(RopeTableOp, raw)]
    assert offsets == [0, -7]


def test_full_attention_and_an_interval_mean_indexed_attention() -> None:
    kinds = ["full_attention", "linear_attention", "indexed_attention"]
    assert [op.layer for op in ops(SelectedAttentionOp, raw_of(FLAT, layer_types=kinds))] == [0, 2]
    raw = raw_of(FLAT, layer_types=None, num_hidden_layers=5)
    assert [op.layer for op in ops(SelectedAttentionOp, raw)] == [3]


def test_dense_attention_reads_all_of_the_past() -> None:
    raw = raw_of(FLAT)
    assert len(ops(SoftmaxAttentionOp, raw, AttentionMode.DENSE)) == 2
    assert not ops(SelectPoolsOp, raw, AttentionMode.DENSE)
    deltas = raw_of(FLAT, layer_types=["linear_attention"] * 3)
    with pytest.raises(ConfigError, match="no sparse attention"):
        ops(SelectPoolsOp, deltas, AttentionMode.SPARSE)


def test_hashes_are_those_that_the_checkpoint_stores() -> None:
    stored = load_file(NESTED / "model.safetensors")
    raw = raw_of(NESTED)
    frontend = frontend_for(raw)
    implied = frontend.implied_numbers(frontend.parse_config(raw))
    assert len(implied) == 6
    for name, numbers in implied.items():
        assert stored[name].tolist() == list(numbers)
    tables = {plain(op.sizes): op for op in ops(NgramEmbeddingOp, raw)}
    assert len(tables) == 2


def test_primes_and_multipliers() -> None:
    assert primes_from(1, 5) == (2, 3, 5, 7, 11)
    assert primes_from(53, 3) == (53, 59, 61)
    assert primes_from(20_000_000, 2) == (20_000_003, 20_000_023)
    assert len(primes_from(2, 2000)) == 2000
    assert primes_from(2, 2000)[-1] == 17389
    odd = multipliers(1234, 3, 4, 248_320)
    assert all(value % 2 and value * 248_319 < 2**63 for value in odd)


@pytest.mark.parametrize(
    ("changed", "field", "expected"),
    [
        ({"indexer_budget": None}, "indexer_budget", "a value"),
        ({"indexer_budget": 60}, "indexer_budget", "multiple of 8"),
        ({"indexer_kv_heads": 2}, "indexer_kv_heads", "1"),
        ({"indexer_compress_ratio": 12, "indexer_budget": 60}, "indexer_compress_ratio", "64"),
        ({"indexer_head_dim": 6}, "indexer_head_dim", "from 8"),
        ({"indexer_head_dim": 17}, "indexer_head_dim", "even"),
        ({"hc_count": 1}, "hc_count", "greater than 1"),
        ({"output_gate_type": "tanh"}, "output_gate_type", "'sigmoid' or 'silu'"),
        ({"ple_layer_ids": [1]}, "ple_layer_ids", "linear_attention"),
        ({"ple_layer_ids": [9]}, "ple_layer_ids", "linear_attention"),
        ({"ple_layer_ids": [2], "eos_token_id": None}, "eos_token_id", "n-grams"),
        ({"ple_layer_ids": [2], "heads_per_ngram": 5}, "heads_per_ngram", "divides"),
        ({"ple_layer_ids": [2], "ngram_vocab_size_base": 2**30}, "ngram_vocab_size_base", "int32"),
        ({"ple_conv_kernel_size": 1}, "ple_conv_kernel_size", "greater than 1"),
        ({"ngram_size": 1}, "ngram_size", "greater than 1"),
        ({"layer_types": ["sliding_attention"] * 3}, "layer_types", "indexed_attention"),
        ({"num_experts": 0}, "num_experts", "greater than 0"),
        ({"attention_dropout": 0.5, "sliding_window": 5}, "sliding_window", "null"),
    ],
)
def test_refused_configs(changed: dict[str, Any], field: str, expected: str) -> None:
    raw = raw_of(FLAT, **changed)
    with pytest.raises(ConfigError) as caught:
        frontend_for(raw).parse_config(raw)
    assert caught.value.where == f"config.json: {field}"
    assert expected in str(caught.value.expected)


def test_fields_of_the_text_are_in_its_table() -> None:
    raw = raw_of(NESTED, indexer_kv_heads=2)
    with pytest.raises(ConfigError) as caught:
        frontend_for(raw).parse_config(raw)
    assert caught.value.where == "config.json: text_config.indexer_kv_heads"
    raw = raw_of(NESTED)
    raw["text_config"]["model_type"] = "qwen3_next"
    with pytest.raises(ConfigError, match="text_config"):
        frontend_for(raw).parse_config(raw)
    del raw["text_config"]
    with pytest.raises(ConfigError, match="text_config is missing"):
        frontend_for(raw).parse_config(raw)


def test_other_numbers_of_hashes_are_refused(tmp_path: Path) -> None:
    raw = raw_of(NESTED)
    (tmp_path / "config.json").write_text(json.dumps(raw))
    tensors = load_file(NESTED / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layer_multipliers"))
    tensors[name] = tensors[name] + 2
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="other numbers than the configuration implies"):
        compile_checkpoint(tmp_path, tmp_path / "out.sala")


def test_what_guesses_tokens_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(raw_of(NESTED)))
    tensors = load_file(NESTED / "model.safetensors")
    tensors["mtp.layers.0.mlp.gate.weight"] = np.zeros((6, 48), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    compile_checkpoint(tmp_path, tmp_path / "out.sala")
    with sala_compile.load(tmp_path / "out.sala", context=256) as model:
        found = model.logits([1, 2, 3])
    np.testing.assert_allclose(found, reference_model(NESTED).prefill([1, 2, 3]), atol=1e-4)


@pytest.mark.parametrize("options", [{"targets": ("cuda:sm_90",)}, {"kv": PageStorage.INT8}])
def test_what_has_no_kernel_is_refused_by_name(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SalaError, match=r"streams|ngram|pools|selection|short_convolution"):
        compile_checkpoint(NESTED, tmp_path / "out.sala", **options)
