"""MLIR's own tools read what we print in its generic form, check it, and print it back.

`iree-opt` comes with the extra [dev], `mlir-opt` with Debian's mlir-19-tools; each is skipped by
name where it is not installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp

from sala_compile.runtime.cli.graph_section import definition_for
from sala_compile.sala_ir.context import parse_module
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for, read_config
from sala_compile.sala_ir.generic_form import print_generic
from sala_compile.sala_ir.irdl_definition import print_irdl

TESTS = Path(__file__).parents[1]
SPLIT = "// -----\n"
RELEASE = re.compile(r"version (\d+)\.")
CONFIGS = sorted((TESTS / "golden" / "data").glob("*/config.json"))
STEP = """
func.func @step(%h: tensor<?x8xf32>, %kv: !sala.kv_cache<2, 16, 4, f32>, %batch: !sala.batch) {
  %w = sala.weight @w : !sala.weights<[8, 8], f32>
  %v = sala.scale_weight %w {factor = 2.0 : f64}
    : !sala.weights<[8, 8], f32> -> !sala.weights<[8, 8], f32>
  %y = sala.linear %h, %w : tensor<?x8xf32>, !sala.weights<[8, 8], f32> -> tensor<?x8xf32>
  %after = sala.append_kv %y, %y, %kv, %batch
    : (tensor<?x8xf32>, tensor<?x8xf32>, !sala.kv_cache<2, 16, 4, f32>, !sala.batch)
    -> !sala.kv_cache<2, 16, 4, f32>
  return
}
"""
WRONG = "(%batch, %y, %kv, %batch) : (!sala.batch"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that reads MLIR, and the definition of the dialect as it reads it."""

    path: str
    definition: Path

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Read modules that are apart by `// -----`, and print them."""
        options = [f"--irdl-file={self.definition}", "--split-input-file"]
        return subprocess.run([self.path, *options], input=text, capture_output=True, text=True)


@pytest.fixture(scope="module", params=["iree-opt", "mlir-opt"])
def tool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Each tool that is installed, next to this Python or in the path."""
    beside = Path(sys.executable).with_name(request.param)
    names = [str(beside), request.param, *(f"{request.param}-{n}" for n in range(30, 18, -1))]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    release = RELEASE.search(version.stdout)
    assert release is not None, version.stdout
    path = tmp_path_factory.mktemp("irdl") / "sala.irdl.mlir"
    path.write_text(definition_for(int(release[1]), print_irdl()))
    return Tool(found, path)


@cache
def captured_graphs() -> tuple[ModuleOp, ...]:
    """The graph of every golden checkpoint, as artifacts keep it."""
    graphs: list[ModuleOp] = []
    for path in CONFIGS:
        raw = read_config(path)
        frontend = frontend_for(raw, file=str(path))
        config = frontend.parse_config(raw, file=str(path))
        graphs.append(frontend.build_module(config, AttentionMode.CONFIG))
    return tuple(graphs)


@cache
def modules_of_tests() -> tuple[ModuleOp, ...]:
    """Every module of the dialect's and the passes' tests that is not there to be refused."""
    paths = sorted((TESTS / "filecheck").rglob("*.mlir"))
    pieces = [piece for path in paths for piece in path.read_text().split(SPLIT)]
    return tuple(parse_module(piece) for piece in pieces if "// REFUSE" not in piece)


@pytest.mark.parametrize("made", [captured_graphs, modules_of_tests])
def test_what_a_tool_prints_is_the_same_module(tool: Tool, made):
    modules = made()
    assert len(modules) >= len(CONFIGS) > 5
    result = tool.run(SPLIT.join(print_generic(module) for module in modules))
    assert result.returncode == 0, result.stderr
    printed = result.stdout.split(SPLIT)
    for module, text in zip(modules, printed, strict=True):
        assert parse_module(text).is_structurally_equivalent(module)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("(%y, %y, %kv, %batch) : (tensor<?x8xf32>", WRONG, "expected base type"),
        ("!sala.batch) -> !sala.kv_cache<2 ", "!sala.batch) -> !sala.kv_cache<4 ", "but got"),
        ("-> !sala.kv_cache<2 : i64, 16 : i64,", "-> !sala.kv_cache<16 : i64,", "arguments"),
        ("(%w) {factor = 2.000000e+00 : f64}", "(%w) {other = 2 : i64}", "is expected"),
        ("factor = 2.000000e+00 : f64", "factor = 2 : i64", "expected base attribute"),
        ('#sala.epilogue<"none">', '#sala.epilogue<"gelu">', "constraint"),
        ("scale = 1.000000e+00 : f64, ", "", '"scale" is expected'),
        ('f32, #sala.encoding<"plain"', 'f16, #sala.encoding<"plain"', "constraint"),
    ],
)
def test_a_tool_refuses_what_the_definition_does(tool: Tool, before, after, complaint):
    text = print_generic(parse_module(STEP))
    assert before in text
    result = tool.run(text.replace(before, after, 1))
    assert result.returncode != 0
    assert complaint in result.stderr
