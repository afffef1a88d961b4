"""A graph that somebody took from --dump-ir is compiled from where its passes stopped."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sala_compile import load
from sala_compile.codegen.cli import compile as command
from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.edited_graph import open_graph
from sala_compile.codegen.lowering import lower, parse_targets
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions, WeightRounding
from sala_compile.codegen.progress import Silent
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import pass_names
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.verify import verify_artifact
from sala_compile.sala_ir.context import parse_module, print_module
from sala_compile.sala_ir.generic_form import print_generic
from tests.support.compiled import compile_checkpoint

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def dumped(compiled, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The graph of the small model after every pass, in bfloat16 with weights of 8 bits."""
    folder = tmp_path_factory.mktemp("dumped")
    plan = {"dtype": Precision.BFLOAT16, "quantization": Quantization.INT8, "dry_run": True}
    plan["rounding"] = WeightRounding.NEAREST
    compile_checkpoint(compiled.checkpoint, folder / "x.sala", dump_ir=folder / "ir", **plan)
    return sorted((folder / "ir").iterdir())


def _lowered(path: Path) -> str:
    """The kernel calls that a graph leads to."""
    graph = open_graph(path)
    wanted = CompileOptions(checkpoint=None, output=None, graph=path, dry_run=True)
    options = graph.options(wanted)
    with ExitStack() as stack:
        source = open_source(options, stack, graph)
    assert [path.name for path in source.paths] == ["dense", "sparse"]
    target = parse_targets(options.targets)["cpu"]
    return print_module(
        lower(source.captured, "cpu", target, options, Silent(), source.graph).module
    )


def test_every_stage_leads_to_the_same_kernel_calls(dumped: list[Path], tmp_path: Path):
    """One from each phase of the pipeline; the last file is where they lead. Names may be lost."""
    names = {path: path.stem.partition("_")[2] for path in dumped}
    assert list(names.values()) == ["captured", *pass_names()]
    module = parse_module(dumped[-1].read_text())
    for name in [*module.attributes]:
        if name != "sala.kernels":
            del module.attributes[name]
    wanted = {"captured", "set-page-size", "open-attention", "specialise-phases", "select-kernels"}
    for path, name in names.items():
        if name in wanted:
            assert _lowered(path) == print_module(module)
    generic = tmp_path / "generic.mlir"
    generic.write_text(print_generic(parse_module(dumped[0].read_text())))
    assert parse_module(_lowered(generic)).is_structurally_equivalent(module)


def test_an_edit_is_what_runs(compiled, tmp_path: Path):
    """Of the artifact's own graph: one layer takes a matrix of the other's."""
    graph = tmp_path / "edited.mlir"
    text = (compiled.artifact / "model.mlir").read_text()
    assert "model.layers.0.mlp.up_proj" in text
    graph.write_text(text.replace("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"))
    artifact = tmp_path / "edited.sala"
    compile_checkpoint(compiled.checkpoint, artifact, graph=graph)
    assert verify_artifact(artifact).passed
    with load(compiled.artifact) as before, load(artifact) as after:
        difference = np.abs(after.logits(TOKENS) - before.logits(TOKENS)).max()
    assert difference > 1e-2
    kept = parse_module((artifact / "model.mlir").read_text())
    assert kept.is_structurally_equivalent(parse_module(graph.read_text()))


def test_random_weights_need_the_graph_alone(compiled, tmp_path: Path):
    graph = compiled.artifact / "model.generic.mlir"
    result = _compile(graph, "--weights", "random", "--dtype", "float32", "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    assert '"family": "minicpm_sala"' in result.stdout


def _compile(*arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(command.command, words, prog_name="sala-compile")


@pytest.mark.parametrize(
    ("before", "after", "found", "line"),
    [
        ("sala.swiglu", "sala.swigloo", "sala.swigloo is not registered", "sala.swigloo"),
        ("num_heads = 2,", "num_heads = 3,", "q must have 48 columns", "num_heads = 3,"),
        ("%embed_tokens {scale", "%embed {scale", "used but not defined: [%embed]", "%embed {"),
        ('sala.stage = "captured"', 'sala.stage = "fold"', 'after a pass "fold"', None),
        ('dtype = "bfloat16"', 'dtype = "f8"', "made with --dtype f8", None),
        ('"captured"', '"captured', "a text in quotes does not end", '"captured'),
        ("@step", "@walk", "no function @step", None),
        ("sala.weight @model.norm.weight", "sala.weight @model.norms", "model.norms", None),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    dumped: list[Path], tmp_path: Path, before: str, after: str, found: str, line: str | None
):
    text = dumped[0].read_text()
    assert before in text
    graph = tmp_path / "edited.mlir"
    graph.write_text(text.replace(before, after, 1))
    with pytest.raises(SalaError) as caught:
        compile_model(
            CompileOptions(checkpoint=None, output=None, graph=graph, dry_run=True), Silent()
        )
    message = str(caught.value)
    assert found in message
    assert caught.value.expected
    if line is not None:
        number = next(n for n, each in enumerate(graph.read_text().splitlines(), 1) if line in each)
        assert f"{graph}:{number}:" in message


def test_an_option_that_the_graph_already_has_is_not_changed(dumped: list[Path]):
    assert _compile(dumped[0], "--dtype", "float32", "--dry-run").exit_code == 0
    late = _compile(dumped[5], "--dtype", "float32", "--dry-run")
    assert late.exit_code == 2
    assert "made with --dtype bfloat16" in late.stderr
    other = _compile(dumped[0], "--quantize", "none", "--dry-run")
    assert "made with --quantize int8" in other.stderr


def test_weights_that_a_text_rounds_are_rounded_before_they_are_merged(compiled, tmp_path: Path):
    compile_checkpoint(
        *(compiled.checkpoint, tmp_path / "x.sala"),
        quantization=Quantization.INT4_G32,
        dump_ir=tmp_path / "ir",
        dry_run=True,
    )
    early, *_, late = sorted((tmp_path / "ir").iterdir())
    assert _compile(early, "--dry-run").exit_code == 0
    assert "before the pass merge-projections" in _compile(late, "-o", tmp_path / "y.sala").stderr


def test_a_graph_without_its_checkpoint_asks_for_weights(compiled, tmp_path: Path):
    graph = compiled.artifact / "model.mlir"
    found = _compile(graph, "--weights", compiled.checkpoint, "--dtype", "float32", "--dry-run")
    assert found.exit_code == 0, found.stderr
    result = _compile(graph, "-o", tmp_path / "x.sala")
    assert result.exit_code == 2
    assert "add --weights DIR, or --weights random" in result.stderr
    wrong = _compile(compiled.checkpoint, "--weights", "elsewhere", "--dry-run")
    assert "--weights elsewhere is for a graph" in wrong.stderr
