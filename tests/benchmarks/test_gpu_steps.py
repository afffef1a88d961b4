"""A model of random weights for a GPU: the costs of its steps, and what a GPU gets of it."""

import ctypes
import json

import numpy as np
import pytest

import sala_compile
from benchmarks.gpu.roofline import Ceilings
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.step_costs import by_family, step_cost
from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.options import CompileOptions, WeightOrigin
from sala_compile.codegen.progress import Silent
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import Artifact, PhaseName, SeededTensors, open_artifact
from tests.support.checkpoints import tiny_config
from tests.support.emulated_gpu import emulated_code, emulated_gpu

TARGET = "cuda:sm_90"


@pytest.fixture(scope="module", params=[Quantization.NONE, Quantization.INT4_G32])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small model with random weights for an emulated GPU."""
    folder = tmp_path_factory.mktemp("steps")
    (folder / "config.json").write_text(json.dumps(tiny_config(hidden=128, heads=8)))
    options = CompileOptions(
        checkpoint=None,
        config_file=folder / "config.json",
        weights=WeightOrigin.RANDOM,
        output=folder / "model.sala",
        targets=(TARGET,),
        quantization=request.param,
        context=1024,
        chunk=64,
    )
    options.check()
    with emulated_code():
        compile_model(options, Silent())
    return open_artifact(folder / "model.sala")


def _costs(artifact: Artifact, phase: PhaseName, tokens: int) -> list:
    steps = artifact.program.targets[TARGET].phases[phase].steps
    sizes = Sizes.released()
    return [(step.family, step_cost(artifact, step, phase, sizes, tokens, 512)) for step in steps]


def test_a_token_multiplies_every_matrix_of_the_layers_once(artifact: Artifact) -> None:
    matrices = sum(
        shape[0] * shape[1]
        for name, info in artifact.manifest.tensors.items()
        if len(shape := info.shape) == 2 and "embed_tokens" not in name and "lm_head" not in name
    )
    for tokens in (1, 7):
        found = _costs(artifact, PhaseName.DECODE, tokens)
        products = sum(cost.operations for family, cost in found if family == "linear")
        assert products == 2 * tokens * matrices


def test_the_weights_are_read_once_whatever_the_rows(artifact: Artifact) -> None:
    one = sum(c.bytes for f, c in _costs(artifact, PhaseName.DECODE, 1) if f == "linear")
    two = sum(c.bytes for f, c in _costs(artifact, PhaseName.DECODE, 2) if f == "linear")
    three = sum(c.bytes for f, c in _costs(artifact, PhaseName.DECODE, 3) if f == "linear")
    assert three - two == two - one > 0
    assert one - (two - one) > artifact.weight_bytes_of(TARGET) / 4


def test_every_step_has_a_cost(artifact: Artifact) -> None:
    for phase, tokens in ((PhaseName.PREFILL, 64), (PhaseName.DECODE, 1)):
        for family, cost in _costs(artifact, phase, tokens):
            assert cost.bytes > 0 or cost.operations > 0 or family in ("append_kv", "compress_keys")


def test_families_stand_beside_their_floors_and_the_model(artifact: Artifact) -> None:
    steps = artifact.program.targets[TARGET].phases[PhaseName.DECODE].steps
    costs = [cost for _, cost in _costs(artifact, PhaseName.DECODE, 1)]
    ceilings = Ceilings(operations=1e12, bytes=1e9, exponentials=1e12)
    unknown = next(step.kernel for step in steps if step.family == "linear")
    predicted = {step.kernel: 0.5 for step in steps if step.kernel != unknown}
    rows = by_family(steps, [0.25] * len(steps), costs, ceilings, predicted)
    assert sum(row["steps"] for row in rows) == len(steps)
    assert [row["seconds"] for row in rows] == sorted((r["seconds"] for r in rows), reverse=True)
    for row in rows:
        assert row["seconds"] == 0.25 * row["steps"]
        model = None if row["family"] == "linear" else 0.5 * row["steps"]
        assert row.get("model_seconds") == model
    floor = sum(row["floor_seconds"] for row in rows)
    assert floor == pytest.approx(sum(cost.seconds(ceilings) for cost in costs))


def test_a_gpu_gets_the_weights_that_the_seed_makes(artifact: Artifact) -> None:
    assert artifact.manifest.seeded is not None
    made = SeededTensors(artifact.manifest.seeded)
    with (
        emulated_gpu(),
        sala_compile.load(artifact.directory, context=64, chunk=16, device="cuda") as model,
    ):
        for name in artifact.weights_of(TARGET):
            buffer, expected = model.memory.buffers[name], made.array(name)
            held = (ctypes.c_uint8 * expected.nbytes).from_address(buffer.address)
            np.testing.assert_array_equal(
                np.ctypeslib.as_array(held), expected.view(np.uint8).ravel()
            )
