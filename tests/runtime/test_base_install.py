"""Running needs only the base install: no compiler packages and no torch, not even by accident."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.http_server import write_talking

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


NO_RAY = ("ray", "fsspec")


def test_a_server_and_batches_need_nothing_of_ray(tmp_path: Path):
    artifact = write_talking(tmp_path / "talk.sala")
    program = "from sala_compile.runtime.cli.serve import main; main()"
    assert _run(NO_RAY, program, "--help").returncode == 0
    line = {"custom_id": "a", "method": "POST", "url": "/v1/completions"}
    line["body"] = {"model": "talk", "prompt": "abc", "max_tokens": 2}
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text(json.dumps(line))
    program = "from sala_compile.runtime.serving.batch.__main__ import main; main()"
    given = ("--input", str(source), "--output", str(output), "--model", str(artifact))
    result = _run(NO_RAY, f"import sala_compile.runtime.cli.serve_session; {program}", *given)
    assert result.returncode == 0, result.stderr
    assert json.loads((output / "output.jsonl").read_text())["response"]["status_code"] == 200


def test_batches_on_ray_name_the_extra(tmp_path: Path):
    artifact = write_talking(tmp_path / "talk.sala")
    (tmp_path / "in.jsonl").write_text("{}")
    program = "from sala_compile.runtime.serving.batch.__main__ import main; main()"
    given = ("--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out"))
    result = _run(NO_RAY, program, *given, "--model", str(artifact), "--replicas", "2")
    assert result.returncode == 2
    assert "sala-compile[ray]" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_compiler_names_the_extra():
    result = _run(EXTRAS, "from sala_compile.codegen.cli import sala_compile; sala_compile()")
    assert result.returncode == 2
    assert "sala-compile[compile]" in result.stderr
    assert "Traceback" not in result.stderr
