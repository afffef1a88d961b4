"""Quantised models from end to end: what the kernels read is what the reference computes with."""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import sala_compile
from sala_compile.codegen.cli.compile import command
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.quantization.quantization_report import quantization_info
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.cli.inspect import command as inspect
from sala_compile.runtime.verify import verify_artifact
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.interpreter import ReferenceModel
from tests.support.checkpoints import LIGHTNING, tiny_config, write_checkpoint

CONFIG = tiny_config(
    mixers=(LIGHTNING,),
    hidden=64,
    heads=2,
    intermediate=96,
    qk_norm=False,
    lightning_use_rope=False,
    use_output_norm=False,
)
"""One layer of few kernels; its gate stays as it is."""


def compiled(*arguments: object) -> dict:
    """What sala-compile says."""
    result = CliRunner().invoke(command, [*map(str, arguments), "--dtype", "float32", "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def published(folder: Path) -> Path:
    """A GPTQ checkpoint of version 2, every linear but the gate of any integers and zeros."""
    random = np.random.default_rng(0)
    with Checkpoint.open(write_checkpoint(folder, CONFIG)) as plain:
        tensors = {name: np.asarray(plain.read(name), np.float32) for name in plain.tensors}
    for name in [name for name in tensors if "_proj." in name and "z_proj" not in name]:
        rows, columns = tensors.pop(name).shape
        module, groups = name.removesuffix(".weight"), columns // 32
        words = random.integers(-(2**31), 2**31, (columns // 8 + groups, rows), dtype=np.int64)
        words = words.astype(np.int32)
        tensors[f"{module}.qweight"] = words[: columns // 8]
        tensors[f"{module}.qzeros"] = np.ascontiguousarray(words[columns // 8 :, : rows // 8])
        scales = random.uniform(0.01, 0.05, (groups, rows))
        tensors[f"{module}.scales"] = scales.astype(np.float16)
        tensors[f"{module}.g_idx"] = (np.arange(columns) // 32).astype(np.int32)
    save_file(tensors, folder / "model.safetensors")
    quantization = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False}
    quantization |= {"checkpoint_format": "gptq_v2", "dynamic": {r"-:.*\.z_proj": {}}}
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": quantization}))
    return folder


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> tuple[Path, dict]:
    """An artifact that was calibrated on the way, and what the compiler said."""
    folder = tmp_path_factory.mktemp("quantized")
    plain, made = write_checkpoint(folder / "plain", CONFIG), folder / "gptq.sala"
    asked = ("--quantize", "int4-g32", "--calibration-tokens", 256)
    return made, compiled(plain, "-o", made, *asked)


def is_integer(name: str) -> bool:
    return "_proj." in name and "z_proj" not in name


def test_the_artifact_computes_what_the_reference_does(artifact):
    report = verify_artifact(artifact[0])
    assert report.passed
    assert {entry.kind.value for entry in report.results} == {"model", "kernel"}
    with sala_compile.load(artifact[0], context=128) as model:
        assert len(model.generate([1, 2, 3], 5, ignore_eos=True)) == 5


def test_the_manifest_names_every_tensor_and_its_error(artifact):
    place, document = artifact
    info = open_artifact(place).manifest.quantization
    assert info is not None
    integers = {name for name, entry in info.tensors.items() if entry.encoding == "int4-g32"}
    assert integers == {name for name in info.tensors if is_integer(name)}
    assert all(0 < (info.tensors[name].output_error or 0) < 0.2 for name in integers)
    assert "256 tokens of seeded token ids" in str(info)
    assert any(str(info) in note for note in document["notes"])
    shown = CliRunner().invoke(inspect, [str(place), "--weights"])
    assert all(name in shown.stdout for name in integers)


def test_a_published_checkpoint_is_opened_as_it_is(tmp_path):
    place = published(tmp_path)
    options = CompileOptions(checkpoint=place, output=tmp_path / "x.sala")
    with ExitStack() as stack:
        source = open_source(options, stack)
        weights = stack.enter_context(open_weights(source, options, Silent()))
        info = quantization_info(source, options, weights)
        model = ReferenceModel(source.captured, weights.source)
        logits = np.asarray(model.prefill(list(range(40))))
    assert np.isfinite(logits).all()
    assert logits.std() > 0
    assert info is not None
    assert str(info) == "GPTQ version 2, as the checkpoint stores it"
    assert {entry.encoding for name, entry in info.tensors.items() if is_integer(name)} == {
        "int4-g32-zeros"
    }
    document = compiled(place, "--dry-run")
    kinds = {entry["kind"]: entry["encoding"] for entry in document["weights"]["kinds"]}
    assert kinds["linears of the layers"] == "int4-g32-zeros"
    assert kinds["linears that the checkpoint does not quantise"] == "plain"
    again = CliRunner().invoke(command, [str(place), "--dry-run", "--quantize", "int8"])
    assert again.exit_code == 2
    assert "the checkpoint is quantised already (GPTQ version 2)" in again.stderr
