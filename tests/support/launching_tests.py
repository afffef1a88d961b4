"""The files of tests that launch GPU kernels, found by what they import."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "codegen" / "kernels"
RUNNERS = {("tests.support.interpreted", "run"), ("tests.support.gpu_rows", "run_rows")}
"""Module and name of what launches a kernel; the other tests hold the compiler and need no GPU."""


def launching_files() -> list[Path]:
    """Those of the folder, in the order of names."""
    return [path for path in sorted(FOLDER.rglob("test_gpu*.py")) if _launches(path)]


def _launches(path: Path) -> bool:
    """Whether a file imports a runner, or another file of tests with what that runs."""
    tree = ast.walk(ast.parse(path.read_text()))
    imports = [node for node in tree if isinstance(node, ast.ImportFrom)]
    names = {(node.module, each.name) for node in imports for each in node.names}
    return bool(names & RUNNERS) or any(name.startswith("test_gpu") for _, name in names)
