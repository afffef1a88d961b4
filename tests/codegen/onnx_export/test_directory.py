"""What an export writes and what it refuses: files, bytes, metadata, the command's options."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from sala_compile.codegen.cli.compile import command
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.lower import lower_to_onnx
from sala_compile.passes.fuse_swiglu import FuseSwiglu
from sala_compile.passes.pipeline import run_pipeline
from sala_compile.runtime.errors import CheckpointError, CompileError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from tests.codegen.onnx_export.conftest import export
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import GOLDEN

NAMES = {
    "input_ids",
    "attention_mask",
    "call_lengths",
    "past_key_values.0.key",
    "past_key_values.0.value",
    "past_key_values.1.recurrent_state",
}


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def contents(folder: Path) -> Mapping[str, bytes]:
    """The bytes of all files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_integers_of_a_part_of_a_tensor_are_refused(tmp_path: Path) -> None:
    """The projection of Falcon-H1's recurrence is rows with factors of their own."""
    output = tmp_path / "onnx"
    found = run(GOLDEN / "falcon_h1-a", "--quantize", "int8", "--emit", "onnx", "-o", output)
    assert found.exit_code == 2
    assert "integers of a part of a tensor" in found.stderr
    assert "mamba.in_proj.weight" in found.stderr
    assert not output.exists()


def test_exporting_twice_gives_the_same_bytes_and_replaces(tmp_path: Path) -> None:
    output = tmp_path / "model"
    first, second = (export(GOLDEN / "sala-tiny-a", output, OnnxElement.FLOAT16) for _ in range(2))
    assert first == second
    before = contents(output)
    assert set(before) == {"model.onnx", "model.safetensors", "config.json"}
    export(GOLDEN / "sala-tiny-a", output, OnnxElement.FLOAT16)
    assert contents(output) == before
    other = contents(export(GOLDEN / "sala-tiny-a", tmp_path / "b", OnnxElement.FLOAT16).parent)
    assert other == before


def test_the_names_and_the_metadata(exported: Any) -> None:
    path = exported("sala-tiny-a")
    model = onnx.load(path, load_external_data=False)
    assert {each.name for each in model.graph.input} >= NAMES
    outputs = [each.name for each in model.graph.output]
    assert outputs[:3] == ["logits", "present.0.key", "present.0.value"]
    metadata = {each.key: each.value for each in model.metadata_props}
    with Checkpoint.open(GOLDEN / "sala-tiny-a") as checkpoint:
        assert metadata["sala.checkpoint_sha256"] == checkpoint.digest()
        assert json.loads(metadata["sala.config"]) == checkpoint.config
    assert (model.producer_name, metadata["sala.dtype"]) == ("sala-compile", "float32")
    assert {function.name for function in model.functions} == {
        "BlockSparseAttention",
        "SelectBlocks",
    }
    assert all(function.doc_string for function in model.functions)


def test_weights_are_a_safetensors_file_with_the_values_of_the_checkpoint(exported: Any) -> None:
    stored = load_file(exported("sala-tiny-b", OnnxElement.BFLOAT16).parent / "model.safetensors")
    wanted = load_file(GOLDEN / "sala-tiny-b" / "model.safetensors")
    named = {name: value for name, value in stored.items() if not name.startswith("__")}
    assert named.keys() == wanted.keys()
    for name, value in named.items():
        assert value.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(value, wanted[name])


def test_genai_config_only_where_that_runtime_can_take_the_model(exported: Any) -> None:
    document = json.loads((exported("qwen3-a").parent / "genai_config.json").read_text())
    decoder = document["model"]["decoder"]
    names = [
        each.name for each in onnx.load(exported("qwen3-a"), load_external_data=False).graph.input
    ]
    assert set(names) == {
        *(decoder["inputs"][key] for key in ("input_ids", "attention_mask")),
        *(
            decoder["inputs"][f"past_{part}_names"] % layer
            for layer in range(decoder["num_hidden_layers"])
            for part in ("key", "value")
        ),
    }
    for name in ("sala-tiny-a", "hypenet-a"):
        assert not (exported(name).parent / "genai_config.json").exists()


def test_the_command(tmp_path: Path) -> None:
    output = tmp_path / "model"
    found = run(GOLDEN / "hypenet-a", "--emit", "onnx", "-o", output, "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (document["dtype"], document["opset"]) == ("float32", 27)
    assert "recurrent states" in document["notes"][-1]
    text = run(GOLDEN / "llama-tied-a", "--emit", "onnx", "--dtype", "float16", "-o", output)
    assert "float16, ONNX with operators of version 23" in text.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--emit", "onnx", "--target", "cpu"), "--target"),
        (("--emit", "onnx", "--chunk", "64", "--dry-run"), "--chunk, --dry-run"),
        (("--dtype", "float16"), "an artifact has no float16 weights"),
    ],
)
def test_options_of_the_other_form_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    found = run(GOLDEN / "llama-tied-a", "-o", tmp_path / "x", *arguments)
    assert found.exit_code == 2
    assert message in found.stderr
    assert not (tmp_path / "x").exists()


def test_what_is_no_export_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / "model.onnx").write_bytes(b"mine")
    with pytest.raises(CompileError, match="no earlier export"):
        export(GOLDEN / "llama-tied-a", output, OnnxElement.FLOAT32)
    assert contents(output) == {"model.onnx": b"mine"}


def test_values_that_float16_does_not_hold_are_named(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", element="F32")
    tensors = load_file(checkpoint / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    tensors[name][3, 5] = 1e5
    save_file(tensors, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"{name} holds 100000 at \[3, 5\].*float16"):
        export(checkpoint, tmp_path / "model", OnnxElement.FLOAT16)
    assert not (tmp_path / "model").exists()
    export(checkpoint, tmp_path / "model", OnnxElement.FLOAT32)


def test_an_operation_that_only_passes_make_is_refused() -> None:
    module = reference_model(GOLDEN / "llama-tied-a").module
    run_pipeline(module, [FuseSwiglu()])
    with pytest.raises(CompileError, match="fused epilogue") as caught:
        lower_to_onnx(module, OnnxElement.FLOAT32)
    assert "layer 0: sala.linear" in str(caught.value.where)
