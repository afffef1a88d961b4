"""`--activations int8` from end to end: the reference's logits, the report, who gets it, errors."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import sala_compile
from sala_compile.codegen.cli.compile import command
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.ceiling_kernels import ceiling_kernels
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.artifact.ceilings import OPERATIONS, READ_MULTIPLE, RESULT_FLOATS, Ceiling
from sala_compile.runtime.verify import verify_artifact
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.dialect import LinearOp
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.interpreter import ReferenceModel
from tests.passes.fakes import accept_all
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
from tests.support.steps import Library, aligned

CONFIG = tiny_config(mixers=(SPARSE, LIGHTNING))
IDS = np.random.default_rng(4).integers(0, 131, 110).tolist()
"""Sparse from 64 tokens on."""
ASKED = ("--quantize", "int4-g32", "--rounding", "nearest", "--activations", "int8")


def compiled(*arguments: object) -> Result:
    """What sala-compile answers."""
    return CliRunner().invoke(command, [*map(str, arguments), "--dtype", "float32", "--json"])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """One layer of each kind."""
    return write_checkpoint(tmp_path_factory.mktemp("int8"), CONFIG)


@pytest.fixture(scope="module")
def artifact(checkpoint) -> tuple[Path, dict]:
    """The artifact, and what the compiler said."""
    made = checkpoint / "int8.sala"
    result = compiled(checkpoint, "-o", made, *ASKED)
    assert result.exit_code == 0, result.stderr
    return made, json.loads(result.stdout)


def reference(place: Path, activations: Activations) -> ReferenceModel:
    """The graph with integer weights on the interpreter, in float64."""
    checkpoint = Checkpoint.open(place)
    frontend = frontend_for(checkpoint.config)
    module = frontend.build_module(frontend.parse_config(checkpoint.config))
    passes = sala_pipeline(Precision.FLOAT32, accept_all, Quantization.INT4_G32, activations)
    run_pipeline(module, passes, stop_after="encode-weights")
    rounding = [
        op for op in module.walk() if isinstance(op, LinearOp) and op.activation_group.value.data
    ]
    assert bool(rounding) == (activations is Activations.INT8)
    return ReferenceModel(module, checkpoint)


@pytest.mark.parametrize("length", [40, 110], ids=["dense", "sparse"])
def test_the_kernels_compute_the_logits_of_the_rounded_graph(checkpoint, artifact, length):
    ids = IDS[:length]
    wide, rounded = (np.asarray(reference(checkpoint, kind).prefill(ids)) for kind in Activations)
    with sala_compile.load(artifact[0], context=128) as model:
        found = model.logits(ids)
        chunked = model.logits(ids, chunk=37)
    effect = np.sqrt(np.mean((rounded - wide) ** 2))
    for logits in (found, chunked):
        assert np.sqrt(np.mean((logits - rounded) ** 2)) < 0.1 * effect
    assert 1e-4 * wide.std() < effect < 0.2 * wide.std()


def test_a_text_goes_on_to_the_bit_from_a_state_file(artifact, tmp_path):
    with sala_compile.load(artifact[0], context=128, batch=2) as model:
        sequence = model.sequence()
        sequence.append(IDS[:70])
        sequence.save(tmp_path / "half.sala-state")
        expected = [sequence.append(IDS[70:]), model.decode([sequence], [5])[0]]
        again = model.restore(tmp_path / "half.sala-state")
        found = [again.append(IDS[70:]), model.decode([again], [5])[0]]
    assert np.array_equal(found, expected)


def test_the_effect_on_the_logits_is_reported(artifact):
    place, document = artifact
    assert document["activations"] == "int8"
    info = open_artifact(place).manifest.activations
    assert info is not None
    assert info.effect is not None
    assert info.targets == ("cpu",)
    assert info.wide == ("block selection", "head", "output gate")
    effect = info.effect
    assert effect.tokens == 12
    assert 0 < effect.rms < effect.largest < 0.5 * effect.deviation
    assert str(info) in document["notes"]
    report = verify_artifact(place)
    assert report.passed
    model, *kernels = report.results
    assert model.difference == pytest.approx(effect.largest, rel=0.05)
    rounding = [entry for entry in kernels if "_int8_" in entry.name]
    assert rounding
    assert all(entry.difference < 1e-4 for entry in rounding)


def test_the_ceiling_of_bytes_comes_along(artifact):
    target = CpuTarget.host()
    manifest = open_artifact(artifact[0]).manifest
    bits = {kernel.spec["x_bits"] for kernel in manifest.kernels if "x_bits" in kernel.spec}
    assert bits == {8, 16}  # gates and scores keep wide activations
    built = ceiling_kernels(target, target.instructions, (8, 16))
    assert {Ceiling.INT8, Ceiling.INT16} <= set(built)
    control, result = np.zeros(16, np.int32), np.full(RESULT_FLOATS, 2.0, np.float32)
    control[0], control[3] = 1, 1
    arrays = [aligned(array) for array in (control, np.zeros(READ_MULTIPLE, np.float32), result)]
    library = Library([built[Ceiling.INT8], built[Ceiling.INT16]], target)
    for kind in (Ceiling.INT8, Ceiling.INT16):
        arrays[2][0] = 2.0  # its bytes are 0, 0, 0, 64
        library.call(kind.value, *arrays)
        assert np.isfinite(arrays[2][0])
        assert arrays[2][0] != 2.0
    cells = 24 if target.has_avx512 else 6
    sums, factor = np.ones(1, np.int32), np.array([0, 0, 0, 64], np.int32)
    for _ in range(OPERATIONS // (2 * 16 * 4 * cells)):
        sums = sums + sums.view(np.uint8).astype(np.int32) @ factor
    arrays[2][0] = 2.0
    library.call(Ceiling.INT8.value, *arrays)
    assert arrays[2][0] == pytest.approx(16.0 * cells * sums[0], rel=1e-5)


def test_random_weights_have_no_effect_to_report(checkpoint, tmp_path):
    config, place = checkpoint / "config.json", tmp_path / "random.sala"
    result = compiled("--config", config, "--weights", "random", "-o", place, *ASKED)
    assert result.exit_code == 0, result.stderr
    info = open_artifact(place).manifest.activations
    assert info is not None
    assert info.effect is None
    assert "not known" in str(info)


def test_a_gpu_beside_a_cpu_keeps_wide_activations(checkpoint):
    targets = ("--target", "cpu", "--target", "cuda:sm_90")
    result = compiled(checkpoint, "--dry-run", *ASKED, *targets)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    stays = "activations stay float32 on cuda:sm_90: GPU kernels have none of 8 bits"
    assert stays in document["notes"]
    symbols = {name: [k["symbol"] for k in found] for name, found in document["kernels"].items()}
    assert any("_int8_" in symbol for symbol in symbols["cpu"])
    assert not any("_int8_" in symbol for symbol in symbols["cuda:sm_90"])


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--activations", "int8"), "no weight of the model is stored as integers"),
        ((*ASKED, "--target", "cuda:sm_90"), "kernels for GPUs have no activations of 8 bits"),
    ],
)
def test_what_cannot_be_is_one_error(checkpoint, arguments, found):
    result = compiled(checkpoint, "--dry-run", *arguments)
    assert result.exit_code == 2
    assert found in result.stderr
    assert "--activations int8" in result.stderr
    assert "fix" in result.stderr
