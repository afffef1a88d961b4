"""MiniCPM: defaults and rules of the publisher's class, LongRoPE, and what is refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import f32

import sala_compile
from sala_compile.passes.support.quantization import Quantization, quantized_tensors
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    EmbeddingOp,
    LogitsOp,
    RecentKeysType,
    ResidualAddOp,
    RopeTableOp,
    SoftmaxAttentionOp,
    WeightOp,
    WeightRole,
)
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from tests.support.checkpoints import SPARSE_CONFIG, reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

LONG = {
    "rope_type": "longrope",
    "factor": 77.0,
    "short_factor": [1.0 + 0.1 * index for index in range(8)],
    "long_factor": [1.0 + 2.0 * index for index in range(8)],
    "original_max_position_embeddings": 40,
}


def small(**fields: Any) -> dict[str, Any]:
    """A config.json with nothing but what has no default; None leaves a field out."""
    config = {
        "model_type": "minicpm",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def ops(raw: dict[str, Any], kind: type, mode: AttentionMode = AttentionMode.CONFIG) -> list[Any]:
    """The ops of a kind in the captured module."""
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw), mode)
    return [op for op in module.walk() if isinstance(op, kind)]


def test_defaults_are_those_of_the_class() -> None:
    raw = small()
    config = frontend_for(raw).parse_config(raw)
    assert config.tie_word_embeddings
    assert (config.num_key_value_heads, config.head_dim) == (4, 16)
    assert (config.rope_theta, config.dim_model_base) == (1e4, 1.0)
    assert config.sparse_config is None
    assert len(ops(raw, SoftmaxAttentionOp)) == 2


def test_a_config_may_name_the_class_alone() -> None:
    raw = small(model_type=None, architectures=["MiniCPMForCausalLM"])
    frontend = frontend_for(raw)
    assert frontend.facts(frontend.parse_config(raw)).family == "minicpm"
    for architectures in (["GPT2LMHeadModel"], ["MiniCPMForCausalLM", "x"], [3], "MiniCPM"):
        with pytest.raises(ConfigError, match="model_type is missing"):
            frontend_for(small(model_type=None, architectures=architectures))


def test_scales() -> None:
    raw = small(scale_emb=12, scale_depth=1.4, dim_model_base=16, mup_denominator=32)
    (embedding,), (logits,) = ops(raw, EmbeddingOp), ops(raw, LogitsOp)
    assert embedding.scale.value.data == 12
    assert logits.scale.value.data == pytest.approx(16 / 64)
    for op in ops(raw, ResidualAddOp):
        assert op.scale.value.data == pytest.approx(1.4 / math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize(
    ("trained", "starts", "scale"),
    [
        (40, (0, 41), 1.0),
        (160, (0,), math.sqrt(1 + math.log(4) / math.log(40))),
        (20, (0, 41), math.sqrt(1 - math.log(2) / math.log(40))),
    ],
)
def test_long_rope_is_that_of_the_class(
    trained: int, starts: tuple[int, ...], scale: float
) -> None:
    """A `factor` is not read; a model of more positions than the original has long factors only."""
    raw = small(rope_scaling=LONG, max_position_embeddings=trained)
    (table,) = ops(raw, RopeTableOp)
    plain = 1e4 ** (-np.arange(8) / 8)
    rows = [plain / LONG["short_factor"], plain / LONG["long_factor"]][-len(starts) :]
    np.testing.assert_allclose(table.parameters["frequencies"], np.ravel(rows), rtol=1e-6)
    assert table.parameters.get("starts", (0,)) == starts
    assert table.parameters["factor"] == pytest.approx(scale)


def test_modes_of_attention() -> None:
    raw = small(sparse_config=SPARSE_CONFIG)
    (selection,) = {op.selection.data for op in ops(raw, BlockSparseAttentionOp)}
    assert (selection.dense_len, selection.budget, selection.window_blocks) == (64, 5, 2)
    always = ops(raw, BlockSparseAttentionOp, AttentionMode.SPARSE)
    assert {op.selection.data.dense_len for op in always} == {0}
    assert len(ops(raw, SoftmaxAttentionOp, AttentionMode.DENSE)) == 2
    with pytest.raises(ConfigError, match="no sparse_config"):
        ops(small(), BlockSparseAttentionOp, AttentionMode.SPARSE)


def test_blocks_are_chosen_before_the_rotation_where_use_nope_says_so() -> None:
    raw = small(sparse_config=SPARSE_CONFIG | {"use_nope": True}, num_key_value_heads=2)
    for op in ops(raw, BlockSparseAttentionOp):
        assert op.q.owner.x is op.choosing_q
        assert op.k.owner.x is op.choosing_k
        assert op.recent.type == RecentKeysType(2, 32, 16, f32)
    frontend = frontend_for(raw)
    dense = frontend.build_module(frontend.parse_config(raw), AttentionMode.DENSE)
    assert "recent_keys" not in str(dense)
    assert "choosing" not in str(ops(small(sparse_config=SPARSE_CONFIG), BlockSparseAttentionOp))


def test_queries_and_keys_that_choose_blocks_are_sensitive() -> None:
    roles = [op.role.data for op in ops(small(sparse_config=SPARSE_CONFIG), WeightOp)]
    assert roles.count(WeightRole.BLOCK_SELECTION) == 2 * 2
    assert WeightRole.BLOCK_SELECTION not in [op.role.data for op in ops(small(), WeightOp)]
    raw = small(sparse_config=SPARSE_CONFIG)
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw))
    encodings = quantized_tensors(module, Quantization.INT4_G32)
    assert encodings["model.layers.1.self_attn.q_proj.weight"].label == "int8-g128"


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"head_dim": 32}, "head_dim"),
        ({"num_attention_heads": 3}, "num_attention_heads"),
        ({"num_experts": 8}, "num_experts"),
        ({"hidden_act": "fatrelu"}, "hidden_act"),
        ({"sliding_window": 512}, "sliding_window"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_scaling"),
        ({"rope_scaling": LONG}, "max_position_embeddings"),
        (
            {"rope_scaling": LONG | {"attention_factor": 1.2}, "max_position_embeddings": 40},
            "rope_scaling.attention_factor",
        ),
        (
            {
                "rope_scaling": LONG | {"original_max_position_embeddings": 1},
                "max_position_embeddings": 40,
            },
            "rope_scaling.original_max_position_embeddings",
        ),
        ({"scale_emb": "12"}, "scale_emb"),
        ({"dim_model_base": 0}, "dim_model_base"),
        ({"sparse_config": {"use_nope": 1}}, "sparse_config.use_nope"),
        ({"sparse_config": {"kernel_size": 48}}, "sparse_config.kernel_size"),
        ({"sparse_config": {"colour": 1}}, "sparse_config.colour"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_refused_by_name(fields: dict[str, Any], where: str) -> None:
    raw = small(**fields)
    with pytest.raises(ConfigError) as caught:
        frontend_for(raw).parse_config(raw, file="config.json")
    assert caught.value.where == f"config.json: {where}"
    assert caught.value.expected
    assert caught.value.fix


SHAPES: dict[str, dict[str, Any]] = {
    "sparse across the original length": {
        "sparse_config": SPARSE_CONFIG,
        "rope_scaling": LONG | {"original_max_position_embeddings": 67},
        "max_position_embeddings": 67,
        "num_key_value_heads": 1,
    },
    "long only, always sparse, untied": {
        "sparse_config": SPARSE_CONFIG | {"dense_len": -1},
        "rope_scaling": LONG,
        "max_position_embeddings": 160,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
    "dense with biases": {"attention_bias": True, "num_key_value_heads": 4},
}


@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes_against_the_reference(name: str, tmp_path: Any) -> None:
    """Below and beyond both lengths, in chunks, and decoded across them."""
    scales = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16}
    checkpoint = write_checkpoint(tmp_path / "checkpoint", small(**scales, **SHAPES[name]))
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(0).integers(0, 131, 150).tolist()
    with sala_compile.load(tmp_path / "model.sala", context=192) as model:
        for length in (5, 63, 66, 150):
            reference = reference_model(checkpoint)
            found, wanted = model.logits(ids[:length], chunk=37), reference.prefill(ids[:length])
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
            with model.sequence() as sequence:
                sequence.append(ids[:length])
                for token in ids[:4]:
                    wanted = reference.decode(token)
                    np.testing.assert_allclose(sequence.append([token]), wanted, rtol=0, atol=1e-3)
