"""Exported models read again: the same graph and the same bits, or a refusal that says why."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions, WeightRounding
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.context import print_module
from sala_compile.sala_ir.frontends import AttentionMode
from tests.codegen.onnx_export.conftest import export
from tests.support.checkpoints import SPARSE, tiny_config, write_checkpoint
from tests.support.compiled import GOLDEN
from tests.support.gguf_files import dense_config, write_models


def opened(checkpoint: Path, **options: Any) -> tuple[str, dict[str, list[np.ndarray]], str]:
    """The text of the graph, the bits of every tensor, and the digest of a checkpoint."""
    chosen = {"output": Path("unused"), "dtype": Precision.FLOAT32, "context": 512} | options
    wanted = CompileOptions(checkpoint=checkpoint, **chosen)
    with ExitStack() as stack:
        source = open_source(wanted, stack)
        assert source.checkpoint is not None
        tensors: dict[str, list[np.ndarray]] = {}
        with open_weights(source, wanted, Silent()) as weights:
            for name, shape in source.tensors.items():
                if name in source.integers:
                    found = weights.source.integers(name, 0, shape[0])
                    tensors[name] = [found.values(shape[1]), found.codes]
                else:
                    tensors[name] = [weights.source.rows(name, 0, shape[0])]
        return print_module(source.captured), tensors, source.checkpoint.digest()


def require_equal(found: dict[str, list[np.ndarray]], wanted: dict[str, list[np.ndarray]]) -> None:
    """The same tensors, to the bit."""
    assert found.keys() == wanted.keys()
    for name, parts in found.items():
        for ours, theirs in zip(parts, wanted[name], strict=True):
            assert ours.dtype == theirs.dtype, name
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize(
    ("name", "element", "attention"),
    [
        ("sala-tiny-a", OnnxElement.BFLOAT16, "config"),
        ("sala-tiny-b", OnnxElement.BFLOAT16, "dense"),
        ("hypenet-a", OnnxElement.BFLOAT16, "config"),
        ("llama-llama3-a", OnnxElement.BFLOAT16, "config"),
        ("olmo_hybrid-a", OnnxElement.BFLOAT16, "config"),
        ("falcon_h1-a", OnnxElement.BFLOAT16, "config"),
        ("llama-tied-a", OnnxElement.FLOAT32, "config"),
    ],
)
def test_graph_and_bits_are_those_of_the_checkpoint(
    tmp_path: Path, name: str, element: OnnxElement, attention: str
) -> None:
    mode = {"attention": AttentionMode(attention)}
    text, tensors, digest = opened(GOLDEN / name, **mode)
    model = export(GOLDEN / name, tmp_path / "model", element, **mode)
    found = opened(model, **mode)
    assert found[0] == text
    require_equal(found[1], tensors)
    assert found[2] == digest


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_integers_of_a_gguf_file_come_back(tmp_path: Path, kind: str) -> None:
    path, _ = write_models(tmp_path, dense_config(), lambda name: kind)
    _, tensors, _ = opened(path)
    model = export(path, tmp_path / "model", OnnxElement.FLOAT16)
    _, found, _ = opened(model)
    floats = {name: parts for name, parts in tensors.items() if len(parts) == 1}
    require_equal(
        {name: found[name] for name in tensors.keys() - floats.keys()},
        {name: tensors[name] for name in tensors.keys() - floats.keys()},
    )


@pytest.mark.parametrize("hidden", [64, 96, 160])
@pytest.mark.parametrize("quantization", ["int4-g128", "int4-g32", "int8"])
def test_integers_that_were_rounded_come_back(
    tmp_path: Path, quantization: str, hidden: int
) -> None:
    """Rows that are shorter than a group, or end within one, as well."""
    config = tiny_config(mixers=(SPARSE,), hidden=hidden)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", config)
    options: Any = {
        "quantization": Quantization(quantization),
        "rounding": WeightRounding.NEAREST,
    }
    model = export(checkpoint, tmp_path / "model", OnnxElement.FLOAT32, **options)
    text, found, _ = opened(model)
    _, plain, _ = opened(checkpoint)
    kind, _, group = quantization.partition("-g")
    assert f"#sala.encoding<{kind}, {group or 128}>" in text
    encoding = Quantization(quantization).encoding
    name = "model.layers.0.mlp.down_proj.weight"
    wanted = Integers.rounded(plain[name][0].astype(np.float32), encoding)
    values, codes = found[name]
    np.testing.assert_array_equal(codes, wanted.codes)
    np.testing.assert_array_equal(values, wanted.values(plain[name][0].shape[1]))


def test_scales_of_super_blocks_are_refused(tmp_path: Path) -> None:
    path, _ = write_models(tmp_path, dense_config(), lambda name: "Q6_K")
    model = export(path, tmp_path / "model", OnnxElement.FLOAT32)
    with pytest.raises(CheckpointError, match="float16") as caught:
        opened(model)
    assert "super-blocks" in str(caught.value.expected)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an export."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export(GOLDEN / "sala-tiny-a", folder, OnnxElement.FLOAT32).parent


def _epsilon(model: Any) -> str:
    node = next(each for each in model.graph.node if each.op_type == "RMSNormalization")
    node.attribute[1].f = 0.5
    return node.name


def _swapped(model: Any) -> str:
    node = next(each for each in model.graph.node if each.op_type == "Gemm")
    node.input[1] = "model.layers.0.self_attn.o_proj.weight"
    return node.name


def _removed(model: Any) -> str:
    return model.graph.node.pop().name


def _constant(model: Any) -> str:
    tensor = next(each for each in model.graph.initializer if each.name.startswith("constants"))
    tensor.raw_data = tensor.raw_data[::-1]
    return f"{tensor.name} with other contents"


def _function(model: Any) -> str:
    node = next(each for each in model.functions[1].node if each.op_type == "CumSum")
    node.op_type = "CumProd"
    return f"a node of {model.functions[1].name} is CumProd"


def _config(model: Any) -> str:
    for each in model.metadata_props:
        if each.key == "sala.config":
            each.value = json.dumps(json.loads(each.value) | {"rms_norm_eps": 1e-3})
    return "RMSNormalization"


def _producer(model: Any) -> str:
    model.producer_name = "somebody"
    return "made by Reshape"


def _outside(model: Any) -> str:
    tensor = next(each for each in model.graph.initializer if each.external_data)
    tensor.external_data[0].value = "../model.safetensors"
    return "without folders"


def _beyond(model: Any) -> str:
    tensor = next(each for each in model.graph.initializer if each.external_data)
    tensor.external_data[1].value = str(1 << 40)
    return "ends before byte"


EDITS = (_epsilon, _swapped, _removed, _constant, _function, _config, _producer, _outside, _beyond)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edited_model_is_refused_with_the_place(
    exported: Path, tmp_path: Path, edit: Callable[[Any], str]
) -> None:
    shutil.copytree(exported, tmp_path / "model")
    path = tmp_path / "model" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    place = edit(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError) as caught:
        opened(path)
    assert place in str(caught.value)


def test_other_options_and_damaged_files_are_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="exported with --attention config"):
        opened(exported / "model.onnx", attention=AttentionMode.DENSE)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes((exported / "model.onnx").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="no ONNX model"):
        opened(damaged)
    with pytest.raises(CheckpointError, match="model"):
        opened(tmp_path / "missing.onnx")
