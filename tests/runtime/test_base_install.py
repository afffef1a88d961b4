"""Running needs only the base install: no compiler packages and no torch, not even by accident."""

import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = ("tvm", "xdsl", "torch", "triton", "array_api_compat", "ml_dtypes")
COMPILER = ("sala_compile.sala_ir", "sala_compile.passes", "sala_compile.codegen")
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(each + ".") for each in {blocked!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def _run(
    blocked: tuple[str, ...], program: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `program` where importing `blocked` fails as if it were not installed."""
    code = BLOCKER.format(blocked=blocked) + program
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", [*EXTRAS, *COMPILER])
def test_what_is_blocked_cannot_be_imported(name: str):
    """Else the tests below would show nothing."""
    result = _run((name,), f"import {name}")
    assert result.returncode == 1
    assert f"No module named '{name}'" in result.stderr


def test_an_artifact_runs(handmade: Path):
    program = "from sala_compile.runtime.cli.run import main; main()"
    options = ("--ids", "5,4", "--max-tokens", "3", "--ignore-eos")
    result = _run(EXTRAS + COMPILER, program, str(handmade), *options)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == 3


def test_an_artifact_is_verified(handmade: Path):
    program = "from sala_compile.runtime.cli.inspect import main; main()"
    result = _run(EXTRAS + COMPILER, program, str(handmade), "--verify")
    assert result.returncode == 0, result.stderr


def test_the_compiler_names_the_extra():
    result = _run(EXTRAS, "from sala_compile.codegen.cli import sala_compile; sala_compile()")
    assert result.returncode == 2
    assert "sala-compile[compile]" in result.stderr
    assert "Traceback" not in result.stderr
