"""Nemotron-H: patterns of layers, parts of a layer, names of tensors, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import (
    ExpertDownOp,
    ExpertUpOp,
    ResidualAddOp,
    RopeOp,
    RouteOp,
    SoftmaxAttentionOp,
    SquaredReluOp,
    StateSpaceOp,
    columns_of,
)
from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

KINDS = ["linear_attention", "moe", "full_attention", "mlp"]


def small(**fields: Any) -> dict[str, Any]:
    """A config.json with a layer of each kind; None leaves a field out."""
    config = {
        "model_type": "nemotron_h",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 48,
        "layers_block_type": KINDS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "mamba_num_heads": 4,
        "mamba_head_dim": 12,
        "n_groups": 2,
        "ssm_state_size": 20,
        "n_routed_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 40,
        "moe_shared_expert_intermediate_size": 24,
        "layer_norm_epsilon": 1e-4,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_a_layer_is_one_mixer() -> None:
    layers = {kind: [op.layer for op in ops(kind)] for kind in (StateSpaceOp, RouteOp)}
    assert layers == {StateSpaceOp: [0], RouteOp: [1]}
    assert [op.layer for op in ops(SoftmaxAttentionOp)] == [2]
    assert ops(RopeOp) == []
    assert [op.layer for op in ops(SquaredReluOp)] == [1, 3]
    assert [op.layer for op in ops(ResidualAddOp)] == [0, 1, 1, 2, 3]


def test_patterns_of_published_configs() -> None:
    config = parse(layers_block_type=None, hybrid_override_pattern="ME*-M")
    assert [kind.value for kind in config.layers_block_type] == [*KINDS, KINDS[0]]
    assert config.num_hidden_layers == 5
    old = ["mamba", "moe", "attention", "mlp"]
    assert [k.value for k in parse(layers_block_type=old).layers_block_type] == KINDS
    assert parse().rms_norm_eps == 1e-4


def test_names_of_tensors() -> None:
    frontend = frontend_for(small())
    tensors = frontend.expected_tensors(parse(moe_latent_size=32))
    assert tensors["backbone.embeddings.weight"] == (131, 64)
    assert tensors["backbone.layers.0.mixer.conv1d.bias"] == (48 + 2 * 40,)
    assert tensors["backbone.layers.1.mixer.gate.e_score_correction_bias"] == (6,)
    assert tensors["backbone.layers.1.mixer.experts.5.up_proj.weight"] == (40, 32)
    assert tensors["backbone.layers.1.mixer.experts.5.down_proj.weight"] == (32, 40)
    assert tensors["backbone.layers.1.mixer.fc1_latent_proj.weight"] == (32, 64)
    assert tensors["backbone.layers.1.mixer.shared_experts.up_proj.weight"] == (24, 64)
    tied = small(tie_word_embeddings=True)
    tensors = frontend.tied_tensors(frontend.parse_config(tied))
    assert tensors == {"lm_head.weight": "backbone.embeddings.weight"}
    assert frontend.is_unread("mtp.layers.0.norm.weight", parse())


def test_experts_of_a_latent_are_routed_by_the_whole_row() -> None:
    (up,), (down,) = ops(ExpertUpOp, moe_latent_size=32), ops(ExpertDownOp, moe_latent_size=32)
    assert columns_of(up.x) == columns_of(down.result) == 32
    (route,) = ops(RouteOp, moe_latent_size=32)
    assert columns_of(route.scores.owner.x) == 64


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers"),
        ({"layers_block_type": ["mamba", "lstm"]}, "layers_block_type[1]"),
        ({"layers_block_type": None, "hybrid_override_pattern": "MX"}, "hybrid_override_pattern"),
        ({"layers_block_type": None}, "num_hidden_layers"),
        ({"n_groups": 3}, "mamba_num_heads"),
        ({"conv_kernel": 1}, "conv_kernel"),
        ({"n_group": 4}, "n_routed_experts"),
        ({"n_group": 3, "topk_group": 4}, "topk_group"),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok"),
        ({"mlp_hidden_act": "silu"}, "mlp_hidden_act"),
        ({"use_bias": True}, "use_bias"),
        ({"n_shared_experts": 2}, "n_shared_experts"),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {field}"


def test_integers(tmp_path: Path) -> None:
    """Also of experts whose sum another linear reads, which is rounded when it is whole."""
    raw = small(hidden_size=128, num_experts_per_tok=6, moe_latent_size=96)
    write_checkpoint(tmp_path / "a", raw)
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", quantization=Quantization.INT8)
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1 * wanted.std()
