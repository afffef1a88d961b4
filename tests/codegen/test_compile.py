"""Whole compilations: what is written, the same bytes twice, several targets, memory."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.cli.graph.outline import outline_of
from sala_compile.runtime.plan import Sizes, token_parts
from sala_compile.runtime.verify import VectorKind, verify_artifact
from sala_compile.sala_ir.context import parse_module
from tests.support.checkpoints import VARIATIONS, reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.shared_objects import FOLDER


def hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_the_artifact_has_what_it_promises(compiled):
    artifact = open_artifact(compiled.artifact, hash_weights=True)
    manifest = artifact.manifest
    assert set(hashes(compiled.artifact)) == {
        "manifest.json",
        "program.json",
        "model.mlir",
        "model.generic.mlir",
        "sala.irdl.mlir",
        "golden.json",
        "golden.safetensors",
        "generation_config.json",
        "lib/cpu-ceilings.so",
        "lib/cpu.so",
        "lib/libtvm_runtime.so",
        "tokenizer_config.json",
        "weights-00001.safetensors",
    }
    assert (manifest.dtype, manifest.attention, manifest.golden.kind) == (
        "float32",
        "config",
        "reference",
    )
    assert (manifest.context, manifest.chunk) == (1024, 64)
    assert manifest.model.sizes["sparse_config.block_size"] == 16
    assert {kernel.symbol for kernel in manifest.kernels} == {
        step.kernel
        for phase in artifact.program.targets["cpu"].phases.values()
        for step in phase.steps
    }
    copied = compiled.artifact / "tokenizer_config.json"
    assert copied.read_bytes() == (compiled.checkpoint / copied.name).read_bytes()


def test_the_captured_graph_is_kept_as_text(compiled):
    text = (compiled.artifact / "model.mlir").read_text()
    assert "sala.block_sparse_attention" in text
    parse_module(text)


def test_every_golden_vector_holds_here(compiled):
    report = verify_artifact(compiled.artifact)
    assert [result.name for result in report.results if not result.passed] == []
    kernels = {kernel.symbol for kernel in open_artifact(compiled.artifact).manifest.kernels}
    vectors = [each for each in report.results if each.kind is VectorKind.KERNEL]
    assert len(vectors) == len(kernels)


def test_compiling_twice_gives_the_same_bytes(compiled, tmp_path):
    """In another process, to another place. Kernels that are built the same have one object."""
    again = tmp_path / "again.sala"
    code = (
        "import sys; from pathlib import Path; "
        "from tests.support.compiled import compile_checkpoint; "
        "compile_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, str(compiled.checkpoint), str(again)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "7", FOLDER: os.environ[FOLDER]}
    subprocess.run(command, check=True, cwd=root, env=environment)
    assert hashes(again) == hashes(compiled.artifact)


def test_a_portable_target_runs_here_beside_this_machine(compiled, tmp_path):
    path = tmp_path / "two.sala"
    targets = ("cpu:x86-64-v3", "cpu:x86-64")
    compile_checkpoint(compiled.checkpoint, path, targets=targets, dtype=Precision.BFLOAT16)
    report = verify_artifact(path)
    assert report.passed
    ids = np.random.default_rng(1).integers(0, 131, 100)
    found = []
    for target in targets:
        with sala_compile.load(path, context=128, chunk=100, target=target) as model:
            found.append(model.logits(ids))
    assert np.abs(found[0] - found[1]).mean() < 0.02 * found[0].std()


def test_tied_embeddings_are_stored_once(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", VARIATIONS["group-1-tied"])
    compile_checkpoint(checkpoint, tmp_path / "tied.sala")
    artifact = open_artifact(tmp_path / "tied.sala")
    stored = [name for name in artifact.weights if "embed" in name or "head" in name]
    assert len(stored) == 1
    ids = list(range(20))
    with sala_compile.load(artifact.directory, context=64) as model:
        found = model.logits(ids)
    np.testing.assert_allclose(found, reference_model(checkpoint).prefill(ids), atol=1e-3)


def test_sharded_float16_checkpoints_compile(compiled, tmp_path):
    from tests.codegen.conftest import SMALL

    checkpoint = write_checkpoint(tmp_path / "checkpoint", SMALL, element="F16", shards=3)
    compile_checkpoint(checkpoint, tmp_path / "small.sala")
    ids = list(range(30))
    with sala_compile.load(tmp_path / "small.sala", context=64) as model:
        found = model.logits(ids)
    np.testing.assert_allclose(found, reference_model(checkpoint).prefill(ids), atol=1e-3)


@pytest.mark.parametrize("regime", ["sparse", "dense"])
def test_the_regime_can_be_forced(compiled, tmp_path, regime):
    from sala_compile.sala_ir.frontends import AttentionMode

    mode = AttentionMode(regime)
    path = tmp_path / "forced.sala"
    compile_checkpoint(compiled.checkpoint, path, attention=mode)
    ids = np.random.default_rng(2).integers(0, 131, 120)
    wanted = reference_model(compiled.checkpoint, attention=mode).prefill(ids.tolist())
    with sala_compile.load(path, context=128, chunk=120) as forced:
        found = forced.logits(ids)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    with sala_compile.load(compiled.artifact, context=128, chunk=120) as plain:
        by_config = plain.logits(ids), plain.logits(ids[:50])
    with sala_compile.load(path, context=128, chunk=120) as forced:
        short = forced.logits(ids[:50])
    if regime == "dense":
        assert np.abs(found - by_config[0]).max() > 0.05
        np.testing.assert_allclose(short, by_config[1], atol=1e-4)
    else:
        np.testing.assert_allclose(found, by_config[0], atol=1e-4)


def test_an_artifact_compiled_again_is_loaded_anew(compiled, tmp_path):
    """In the same process and at the same path, with other kernels."""
    path = tmp_path / "again.sala"
    found = []
    for dtype in (Precision.FLOAT32, Precision.BFLOAT16):
        compile_checkpoint(compiled.checkpoint, path, dtype=dtype)
        with sala_compile.load(path, context=64) as model:
            found.append(model.logits(list(range(20))))
    assert 0 < np.abs(found[0] - found[1]).max() < 0.5


def test_the_outline_of_a_picture_has_the_layers_and_the_bytes_of_the_plan(compiled):
    artifact = open_artifact(compiled.artifact)
    outline = outline_of(artifact, "cpu")
    kinds = {kind.title: kind for kind in outline.kinds}
    assert {title: kind.layers for title, kind in kinds.items()} == {
        "Sparse attention": [0],
        "Lightning attention": [1],
    }
    first = kinds["Sparse attention"].kernels[1]
    assert first.weights[:3] == ("q_proj", "k_proj", "v_proj")
    assert "SwiGLU" in kinds["Lightning attention"].kernels[-2].fused
    states = [state for kind in outline.kinds for state in kind.states]
    sizes = Sizes(context=1024, batch=1, chunk=64, sequences=1, workers=1)
    tokens = token_parts(artifact.program, "cpu", sizes)
    for state in states:
        if state.per_token:
            assert state.nbytes == tokens[state.kind.replace(" ", "_")]
    kernels = (
        *outline.before,
        *(k for kind in outline.kinds for k in kind.kernels),
        *outline.after,
    )
    stored = sum(each.spec.nbytes for _, each in artifact.weights.values())
    assert sum(kernel.weight_bytes for kernel in kernels) == stored
