"""MiniMax: its published spellings, slopes, stream and experts, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import ConfigError
from sala_compile.sala_ir.dialect import (
    ExpertUpOp,
    LightningAttentionOp,
    ResidualAddOp,
    RmsNormOp,
    ScaleWeightOp,
    SiluOp,
)
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.frontends.kit.lightning import layer_slopes
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint

LIGHTNING, ATTENTION = "linear_attention", "full_attention"


def small(**fields: Any) -> dict[str, Any]:
    """A config.json of two layers; None leaves a field out."""
    config = {
        "model_type": "minimax",
        "vocab_size": 131,
        "hidden_size": 64,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "layer_types": [LIGHTNING, ATTENTION],
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "num_local_experts": 5,
        "linear_attn_alpha_factor": 1.5,
        "mlp_beta_factor": 0.5,
    } | fields
    return {name: value for name, value in config.items() if value is not None}


def parse(**fields: Any) -> Any:
    return frontend_for(small()).parse_config(small(**fields), file="config.json")


def ops(kind: type, **fields: Any) -> list[Any]:
    """The ops of a kind in the captured module."""
    module = frontend_for(small()).build_module(parse(**fields))
    return [op for op in module.walk() if isinstance(op, kind)]


def test_layers_take_turns_where_none_are_listed_and_attention_comes_first() -> None:
    config = parse(layer_types=None, num_hidden_layers=4)
    assert [kind.value for kind in config.layer_types] == [ATTENTION, LIGHTNING] * 2
    config = parse(layer_types=None, attn_type_list=[0, 1])
    assert [kind.value for kind in config.layer_types] == [LIGHTNING, ATTENTION]


def test_published_names_of_the_factors_are_taken() -> None:
    old = {"layernorm_linear_attention_alpha": 3.5, "layernorm_mlp_beta": 2.0}
    config = parse(linear_attn_alpha_factor=None, mlp_beta_factor=None, **old)
    assert (config.linear_attn_alpha_factor, config.mlp_beta_factor) == (3.5, 2.0)


def test_slopes_depend_on_the_layer_and_not_on_powers_of_two() -> None:
    found = layer_slopes(3, 1, 4)
    base = [2.0 ** (-8 / 3), 2.0 ** (-16 / 3), 2.0**-8]
    np.testing.assert_allclose(found, np.asarray(base) * (1 - 1 / 3.00001 + 1e-5), rtol=1e-6)
    (op,) = ops(LightningAttentionOp)
    assert op.parameters["slopes"] == tuple(layer_slopes(3, 0, 2).tolist())
    assert op.parameters["scale"] == 1.0


def test_the_stream_goes_on_from_its_norms() -> None:
    sums = ops(ResidualAddOp)
    assert all(isinstance(op.h.owner, RmsNormOp) for op in sums)
    assert [op.scale.value.data for op in sums] == [1.0, 0.5, 1.0, 0.5]
    assert len(ops(ScaleWeightOp)) == 1
    assert len(ops(SiluOp)) == 1
    assert len(ops(ExpertUpOp)) == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"layer_types": [LIGHTNING]}, "layer_types"),
        ({"layer_types": ["mamba", LIGHTNING]}, "layer_types"),
        ({"layer_types": None, "attn_type_list": [0, 2]}, "attn_type_list"),
        ({"layer_types": None, "attn_type_list": [0]}, "layer_types"),
        ({"num_experts_per_tok": 6}, "num_experts_per_tok"),
        ({"num_local_experts": 0}, "num_local_experts"),
        ({"shared_intermediate_size": 8}, "shared_intermediate_size"),
        ({"postnorm": False}, "postnorm"),
        ({"attention_bias": True}, "attention_bias"),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**fields)
    assert caught.value.where == f"config.json: {field}"


def test_integers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", small(hidden_size=128, num_experts_per_tok=5))
    compile_checkpoint(tmp_path / "a", tmp_path / "a.sala", quantization=Quantization.INT8)
    ids = np.arange(70) % 131
    with sala_compile.load(tmp_path / "a.sala", context=128) as model:
        found = model.logits(ids)
    wanted = reference_model(tmp_path / "a").prefill(ids.tolist())
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1 * wanted.std()
