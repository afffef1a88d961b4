"""The graph of a model for a GPU: compiled again where its passes stopped, and drawn."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sala_compile.codegen.cli import compile as compile_command
from sala_compile.codegen.options import WeightRounding
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.quantize_activations import Activations
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.cli import inspect
from tests.codegen.conftest import SMALL
from tests.support.checkpoints import write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.emulated_gpu import emulated_code

TARGET = "cuda:sm_90"
FORM = {
    "dtype": Precision.BFLOAT16,
    "quantization": Quantization.INT4_G32,
    "rounding": WeightRounding.NEAREST,
}


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its artifact for a GPU, and `ir`: its graph after every pass."""
    folder = tmp_path_factory.mktemp("gpu-graph")
    write_checkpoint(folder / "checkpoint", SMALL)
    with emulated_code():
        compile_checkpoint(
            *(folder / "checkpoint", folder / "whole.sala"),
            targets=(TARGET,),
            dump_ir=folder / "ir",
            **FORM,
        )
    return folder


def _compiled(dumped: Path, graph: Path, output: Path) -> Path:
    """The artifact of a graph."""
    with emulated_code():
        compile_checkpoint(dumped / "checkpoint", output, graph=graph, targets=(TARGET,), **FORM)
    return output


def _files(artifact: Path) -> dict[str, str]:
    """The hash of every file, but of the captured graph: the program says where reads are cut."""
    files = open_artifact(artifact).manifest.files
    return {name: info.sha256 for name, info in files.items() if not name.startswith("model.")}


@pytest.mark.parametrize("stage", ["captured", "set-page-size", "fuse-residual", "select-kernels"])
def test_a_graph_leads_to_what_its_checkpoint_does(dumped, tmp_path, stage: str):
    (graph,) = (dumped / "ir").glob(f"*_{stage}.mlir")
    again = _compiled(dumped, graph, tmp_path / "again.sala")
    whole, other = _files(dumped / "whole.sala"), _files(again)
    if stage == "select-kernels":  # no operations, so no vectors
        whole = {name: whole[name] for name in other}
    assert whole == other


def test_an_edit_changes_what_the_gpu_reads(dumped, tmp_path):
    """One layer takes a matrix of the other's, which need not be stored any more."""
    (graph,) = (dumped / "ir").glob("*_captured.mlir")
    edited = tmp_path / "edited.mlir"
    text = graph.read_text()
    assert "model.layers.0.mlp.up_proj" in text
    edited.write_text(text.replace("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"))
    artifact = open_artifact(_compiled(dumped, edited, tmp_path / "edited.sala"))
    assert not any("layers.0.mlp.up_proj" in name for name in artifact.weights)
    phases = artifact.program.targets[TARGET].phases.values()
    read = [name for phase in phases for step in phase.steps for name in step.arguments]
    assert any("layers.0.mlp.gate_proj|1.mlp.up_proj" in name for name in read)


def test_a_graph_of_kernel_calls_stays_with_its_target(dumped, tmp_path):
    (graph,) = (dumped / "ir").glob("*_select-kernels.mlir")
    words = [graph, "--target", "cuda:sm_120", "-o", tmp_path / "x.sala"]
    result = CliRunner().invoke(compile_command.command, [str(word) for word in words])
    assert result.exit_code == 2
    assert f"made with --target {TARGET}" in result.stderr


def test_graphs_of_several_targets_say_what_their_own_multiplies_by(dumped, tmp_path):
    """Linears of the CPU read integers, those of a GPU do not."""
    targets = ("cpu", TARGET)
    compile_checkpoint(
        *(dumped / "checkpoint", tmp_path / "x.sala"),
        **FORM | {"targets": targets, "activations": Activations.INT8},
        dump_ir=tmp_path / "ir",
        dry_run=True,
    )
    for target, kind in zip(targets, ("int8", "wide"), strict=True):
        folder = tmp_path / "ir" / target.replace(":", "-")
        (graph,) = folder.glob("*_fold-scales.mlir")
        assert f'activations = "{kind}"' in graph.read_text()
    words = [str(graph), "--weights", "random", "--dry-run", "--target", TARGET]
    result = CliRunner().invoke(compile_command.command, words)
    assert result.exit_code == 0, result.stderr


def test_the_model_is_drawn(dumped, tmp_path):
    """Every layer, with the kernels and the bytes that the GPU's program has."""
    page = tmp_path / "graph.html"
    words = [str(dumped / "whole.sala"), "--graph", str(page), "--json"]
    result = CliRunner().invoke(inspect.command, words)
    assert result.exit_code == 0, result.output
    drawn = json.loads(result.stdout)["graph"]
    assert drawn["facts"]["target"] == TARGET
    kinds = [(kind["kind"], kind["layers"]) for kind in drawn["layers"]]
    assert kinds == [("Sparse attention", [0]), ("Lightning attention", [1])]
    artifact = open_artifact(dumped / "whole.sala")
    steps = artifact.program.targets[TARGET].phases["prefill"].steps
    text = page.read_text("utf-8")
    assert all(step.family.replace("_", " ") in text for step in steps)
    assert text.count("int4") > 4
    for kind in drawn["layers"]:
        read = {
            name
            for step in steps
            if step.layer in kind["layers"]
            for name in step.arguments
            if name in artifact.weights
        }
        assert kind["weight_bytes"] == sum(artifact.weights[n][1].spec.nbytes for n in read) > 0
