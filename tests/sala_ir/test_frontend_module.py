"""The captured module and the expected tensors of MiniCPM-SALA."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp

from sala_compile.sala_ir.context import parse_module, print_module
from sala_compile.sala_ir.dialect import (
    BlockSparseAttentionOp,
    LightningAttentionOp,
    LinearOp,
    LogitsOp,
    ResidualAddOp,
    RopeTableOp,
    Rows,
    SalaOp,
    StateType,
    WeightOp,
    activation_type,
    plain,
)
from sala_compile.sala_ir.frontends import AttentionMode
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.frontends.minicpm_sala import FRONTEND

build_module, parse_config = FRONTEND.build_module, FRONTEND.parse_config
expected_tensors = FRONTEND.expected_tensors

ROOT = Path(__file__).parents[2]
RELEASED = json.loads((ROOT / "examples" / "released-config.json").read_text())
TINY = {
    name: json.loads((ROOT / "tests" / "golden" / "data" / name / "config.json").read_text())
    for name in ("sala-tiny-a", "sala-tiny-b")
}
FIELDS = ["tokens", "offsets", "history", "call_lengths", "slots", "logit_rows"]
INPUTS = [*FIELDS, "page_table", "compressed_table"]


def build(attention: AttentionMode = AttentionMode.CONFIG, **fields: Any) -> ModuleOp:
    """The module of tiny-a with fields replaced."""
    return build_module(parse_config(TINY["sala-tiny-a"] | fields), attention)


def step_of(module: ModuleOp) -> FuncOp:
    """The one function of a captured module."""
    (func,) = module.ops
    assert isinstance(func, FuncOp)
    assert func.sym_name.data == "step"
    return func


def argument_names(func: FuncOp) -> list[str]:
    """The `sala.name` of every argument."""
    assert func.arg_attrs is not None
    return [plain(attributes.data["sala.name"]) for attributes in func.arg_attrs]


def ops_of(module: ModuleOp, kind: type[SalaOp]) -> list[Any]:
    """All ops of a class, in order."""
    return [op for op in module.walk() if isinstance(op, kind)]


def test_released_tensors() -> None:
    tensors = expected_tensors(parse_config(RELEASED))
    assert len(tensors) == 395
    assert sum(math.prod(shape) for shape in tensors.values()) == 9_477_203_968
    prefix = "model.layers.{}.self_attn."
    assert tensors[prefix.format(9) + "k_proj.weight"] == (256, 4096)
    assert tensors[prefix.format(1) + "k_proj.weight"] == (4096, 4096)
    assert tensors[prefix.format(1) + "q_norm.weight"] == (128,)
    assert prefix.format(9) + "q_norm.weight" not in tensors
    assert prefix.format(9) + "z_proj.weight" not in tensors
    assert prefix.format(1) + "o_gate.weight" not in tensors


@pytest.mark.parametrize("name", TINY)
def test_golden_tensors_are_the_files(name: str) -> None:
    file = ROOT / "tests" / "golden" / "data" / name / "model.safetensors"
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    found = {tensor: tuple(entry["shape"]) for tensor, entry in header.items()}
    assert expected_tensors(parse_config(TINY[name])) == found


def test_biases_stand_beside_attention_projections_only() -> None:
    config = parse_config(TINY["sala-tiny-a"] | {"attention_bias": True, "hidden_size": 100})
    biases = {name: shape for name, shape in expected_tensors(config).items() if "bias" in name}
    assert len(biases) == 4 * 5
    assert biases["model.layers.0.self_attn.o_gate.bias"] == (128,)
    assert biases["model.layers.0.self_attn.o_proj.bias"] == (100,)
    assert biases["model.layers.1.self_attn.z_proj.bias"] == (128,)


@pytest.mark.parametrize("attention", AttentionMode)
@pytest.mark.parametrize("name", TINY)
def test_module_survives_its_text(name: str, attention: AttentionMode) -> None:
    text = print_module(build_module(parse_config(TINY[name]), attention))
    assert print_module(parse_module(text)) == text


def test_building_twice_gives_one_text() -> None:
    config = parse_config(TINY["sala-tiny-b"])
    assert print_module(build_module(config)) == print_module(build_module(config))


def test_arguments_and_results() -> None:
    func = step_of(build())
    states = [
        "layers.0.kv_cache",
        "layers.0.compressed_keys",
        "layers.1.recurrent_state",
        "layers.2.recurrent_state",
        "layers.3.kv_cache",
        "layers.3.compressed_keys",
    ]
    assert argument_names(func) == INPUTS + states
    returned = func.body.block.last_op
    assert isinstance(returned, ReturnOp)
    logits, *updated = returned.operands
    assert logits.type == func.function_type.outputs.data[0]
    arguments = func.args[len(INPUTS) :]
    assert [value.type for value in updated] == [value.type for value in arguments]
    assert all(isinstance(value.type, StateType) for value in updated)
    assert all(new is not old for new, old in zip(updated, arguments, strict=True))


def test_dense_mode_has_no_compressed_keys() -> None:
    module = build(AttentionMode.DENSE)
    names = argument_names(step_of(module))
    assert "layers.0.compressed_keys" not in names
    assert [name for name in names if name.endswith("_table")] == ["page_table"]
    assert Counter(op.name for op in module.walk())["sala.softmax_attention"] == 2
    assert not ops_of(module, BlockSparseAttentionOp)


def test_sparse_mode_has_no_dense_regime() -> None:
    lengths = {op.selection.data.dense_len for op in ops_of(build(), BlockSparseAttentionOp)}
    assert lengths == {64}
    forced = ops_of(build(AttentionMode.SPARSE), BlockSparseAttentionOp)
    assert {op.selection.data.dense_len for op in forced} == {0}


def test_attributes_say_what_the_config_says() -> None:
    module = build()
    sparse = ops_of(module, BlockSparseAttentionOp)[0].parameters
    assert sparse == {
        **{"num_heads": 4, "kv_heads": 2, "head_dim": 32, "scale": 32**-0.5},
        **{"kernel_size": 8, "kernel_stride": 4, "block_size": 16, "init_blocks": 1},
        **{"window_blocks": 2, "topk": 4, "dense_len": 64},
    }
    lightning = ops_of(module, LightningAttentionOp)[0].parameters
    assert lightning["slopes"] == tuple(lightning_slopes(4).tolist())
    assert lightning["scale"] == 32**-0.5
    assert {op.parameters["scale"] for op in ops_of(module, ResidualAddOp)} == {1.4 / 2}
    assert ops_of(module, LogitsOp)[0].parameters == {"scale": 32 / 128}


def test_every_op_of_a_layer_carries_its_index() -> None:
    module = build()
    for op in ops_of(module, WeightOp):
        parts = op.tensor_name.data.split(".")
        assert op.layer == (int(parts[2]) if parts[1] == "layers" else None)
    outside = Counter(
        op.name for op in module.walk() if isinstance(op, SalaOp) and op.layer is None
    )
    assert outside == {
        **{"sala.make_batch": 1, "sala.rope_table": 1, "sala.embedding": 1, "sala.weight": 3},
        **{"sala.rms_norm": 1, "sala.logits": 1},
    }


def test_every_expected_tensor_is_read_once() -> None:
    fields = {"attention_bias": True, "attn_use_rope": True}
    config = parse_config(TINY["sala-tiny-a"] | fields)
    names = [op.tensor_name.data for op in ops_of(build_module(config), WeightOp)]
    assert sorted(names) == sorted(expected_tensors(config))


def test_tied_embeddings_are_one_weight() -> None:
    module = build(tie_word_embeddings=True)
    assert "lm_head.weight" not in expected_tensors(
        parse_config(TINY["sala-tiny-a"] | {"tie_word_embeddings": True})
    )
    (logits,) = ops_of(module, LogitsOp)
    assert logits.weight.owner.tensor_name.data == "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("fields", "tables", "rotations"),
    [
        ({}, 1, 4),
        ({"attn_use_rope": True}, 1, 8),
        ({"attn_use_rope": True, "lightning_head_dim": 16}, 2, 8),
        ({"lightning_use_rope": False}, 0, 0),
    ],
    ids=["lightning", "all", "two sizes", "none"],
)
def test_rotary_tables(fields: dict[str, Any], tables: int, rotations: int) -> None:
    module = build(**fields)
    assert len(ops_of(module, RopeTableOp)) == tables
    assert Counter(op.name for op in module.walk())["sala.rope"] == rotations


def test_switches_leave_their_ops_out() -> None:
    switches = ("attn_use_output_gate", "use_output_gate", "use_output_norm", "qk_norm")
    module = build(**dict.fromkeys(switches, False))
    counts = Counter(op.name for op in module.walk())
    assert counts["sala.output_gate"] == 0
    assert counts["sala.rms_norm"] == 2 * 4 + 1


def test_shapes_that_differ_from_the_released_proportions() -> None:
    fields = {
        **{"hidden_size": 100, "num_attention_heads": 12, "num_key_value_heads": 4},
        **{"head_dim": 10, "lightning_nh": 12, "lightning_nkv": 3, "lightning_head_dim": 14},
        **{"intermediate_size": 37, "vocab_size": 101, "attention_bias": True},
    }
    module = build(**fields)
    logits = step_of(module).function_type.outputs.data[0]
    assert logits == activation_type(101, f32, Rows.LOGIT_ROWS)
    assert print_module(parse_module(print_module(module))) == print_module(module)
    biased = [op for op in ops_of(module, LinearOp) if op.bias is not None]
    assert len(biased) == 4 * 5


def test_single_kinds_of_layers() -> None:
    lightning = build(mixer_types=["lightning"], num_hidden_layers=1)
    assert argument_names(step_of(lightning)) == [*FIELDS, "layers.0.recurrent_state"]
    sparse = build(mixer_types=["minicpm4"], num_hidden_layers=1)
    assert not ops_of(sparse, RopeTableOp)


def test_slopes_of_powers_of_two() -> None:
    slopes = lightning_slopes(32)
    assert slopes.dtype == np.float32
    expected = [2.0 ** (-(head + 1) / 4) for head in range(32)]
    np.testing.assert_array_equal(slopes, np.array(expected, np.float32))
    np.testing.assert_array_equal(lightning_slopes(1), np.array([2.0**-8], np.float32))


def test_slopes_of_twelve_heads() -> None:
    slopes = lightning_slopes(12)
    first = [2.0 ** -(head + 1) for head in range(8)]
    rest = [2.0 ** (-(2 * index + 1) / 2) for index in range(4)]
    np.testing.assert_array_equal(slopes, np.array(first + rest, np.float32))


@pytest.mark.parametrize("heads", range(1, 20))
def test_slopes_are_positive_and_one_for_each_head(heads: int) -> None:
    slopes = lightning_slopes(heads)
    assert slopes.shape == (heads,)
    assert (slopes > 0).all()
    assert (slopes < 1).all()
