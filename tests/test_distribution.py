"""What is installed: one package, `sala_compile`, whose commands work in any directory."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

import sala_compile
from tests.support.checkpoints import LIGHTNING, tiny_config, write_checkpoint
from tests.support.dependencies import link, required
from tests.support.http_server import write_talking
from tests.support.imports import BUILD_INPUTS, NAMESPACE, PACKAGES, ROOT
from tests.support.serve_command import started

DATA = (".ll", ".cpp", ".txt", ".html", ".css", ".js", ".svg")
"""Kinds of files that the packages read, apart from Python's."""
GUARDED = (*PACKAGES, "tests", "benchmarks", "examples")
"""Names that folders of a user may well have."""

needs_builder = pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77, reason="setuptools 77 or newer builds the wheel"
)


def _python(*arguments: object, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
    )


def _build(what: str, source: Path, output: Path) -> Path:
    """A wheel or sdist of a source tree, by the backend that pyproject.toml names."""
    code = f"from setuptools.build_meta import build_{what} as b; print(b({str(output)!r}))"
    result = _python("-P", "-c", code, cwd=source)
    assert result.returncode == 0, result.stderr
    return output / result.stdout.split()[-1]


def _names(wheel: Path) -> dict[str, str]:
    """The hash of every file of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        assert all(not name.endswith("/") for name in archive.namelist())
        return {
            name: sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if not re.match(r"sala_compile-[\d.]+\.dist-info/", name)
        }


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The wheel and the sdist of this tree."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in BUILD_INPUTS:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    wheel = _build("wheel", source, folder)
    return SimpleNamespace(wheel=wheel, sdist=_build("sdist", source, folder), folder=folder)


def _package_files() -> dict[str, str]:
    files = {f"{NAMESPACE}/__init__.py": ROOT / NAMESPACE / "__init__.py"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", *DATA):
                files[f"{NAMESPACE}/{path.relative_to(ROOT)}"] = path
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


@needs_builder
def test_the_wheel_holds_one_package_with_its_data_files(built: SimpleNamespace):
    found = _names(built.wheel)
    assert found == _package_files()
    for suffix in DATA:
        assert any(name.endswith(suffix) for name in found)


@needs_builder
def test_the_sdist_holds_real_files_and_gives_the_same_wheel(
    built: SimpleNamespace, tmp_path: Path
):
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
        assert [each.name for each in members if not (each.isfile() or each.isdir())] == []
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert _names(_build("wheel", source, tmp_path)) == _names(built.wheel)


COMMANDS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "sala-compile": lambda folder: (folder / "checkpoint", "-o", "tiny.sala", "--chunk", 64),
    "sala-run": lambda _: ("tiny.sala", "--ids", "5,4", "--max-tokens", 2, "--ignore-eos"),
    "sala-inspect": lambda _: ("tiny.sala", "--memory"),
    "sala-bench": lambda _: ("tiny.sala", "--lengths", 64, "--batch", 1, "--seconds", 0.1),
    "sala-serve": lambda _: ("--help",),
    "sala-tune": lambda _: ("tiny.sala", "--length", 64, "--seconds", 0.1),
}


@pytest.fixture(scope="session")
def installed(built: SimpleNamespace) -> Path:
    """A folder with what an installer makes of the wheel: the package, and scripts in `bin`."""
    folder = built.folder / "installed"
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(folder)
    (folder / "bin").mkdir()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts.keys() == COMMANDS.keys()
    for name, entry in scripts.items():
        module, function = entry.split(":")
        text = f"import sys\nfrom {module} import {function}\n"
        text += f"if __name__ == '__main__':\n    sys.exit({function}())\n"
        (folder / "bin" / name).write_text(text)
    return folder


@needs_builder
def test_every_command_works_beside_folders_of_the_same_names(installed: Path, tmp_path: Path):
    """The user's folders are on Python's path behind the package, and cannot be imported."""
    write_checkpoint(tmp_path / "checkpoint", tiny_config(mixers=(LIGHTNING,)))  # few kernels
    work = tmp_path / "work"
    for name in GUARDED:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('a module of the user')\n")
    for name, arguments in COMMANDS.items():
        script = installed / "bin" / name
        result = _python(script, *arguments(tmp_path), cwd=work, path=f"{installed}:{work}")
        assert result.returncode == 0, (name, result.stderr)
    assert (work / "tiny.tuning.json").exists()


def test_the_runtime_needs_no_server_and_the_server_no_compiler():
    runtime, server = required(), required("serve")
    assert {"fastapi", "starlette", "uvicorn", "llguidance"} <= server - runtime
    assert not {"torch", "transformers", "apache-tvm", "xdsl", "triton"} & server


@needs_builder
def test_the_server_answers_with_its_extra_and_nothing_else(installed: Path, tmp_path: Path):
    """Python sees the wheel and what an installer of `[serve]` would install."""
    site = link(required("serve"), tmp_path / "site")
    artifact = write_talking(tmp_path / "talking.sala")
    command = [sys.executable, "-S", installed / "bin" / "sala-serve", artifact, "--port", "0"]
    environment = os.environ | {"PYTHONPATH": f"{installed}:{site}"}
    with started(command, environment) as (process, url, _):
        asked = {"prompt": "hello", "max_tokens": 3, "temperature": 0}
        answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 3
        assert "<!doctype html>" in httpx.get(url).text
        process.terminate()
        assert process.wait(30) == 0


@needs_builder
def test_what_is_installed_runs_from_where_it_is_installed(installed: Path, tmp_path: Path):
    code = "import sala_compile.runtime.model as m; print(m.__file__)"
    result = _python("-c", code, cwd=tmp_path, path=str(installed))
    assert result.stdout.strip() == str(installed / NAMESPACE / "runtime" / "model.py")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_bare_name_is_refused(name: str):
    """From the repository's root it would be a second copy, with error classes of its own."""
    result = _python("-c", f"import {name}", cwd=ROOT)
    assert result.returncode == 1
    assert f"ImportError: import it as sala_compile.{name}" in result.stderr


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import sala_compile\n"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    result = _python("-S", "-c", code, cwd=ROOT)
    new = ast.literal_eval(result.stdout)
    assert "sala_compile" in new
    assert not [name for name in new if name.startswith("sala_compile.")]
    assert {name.split(".")[0] for name in new} <= sys.stdlib_module_names | {"sala_compile"}


def test_an_error_class_is_there_without_the_libraries_of_a_model():
    code = "import sala_compile as s, sys, json; s.SalaError; print(json.dumps([*sys.modules]))"
    modules = json.loads(_python("-c", code, cwd=ROOT).stdout)
    assert not {"numpy", "pydantic", "tvm_ffi", "click", "rich"} & set(modules)


def test_public_names_are_those_of_their_homes():
    from sala_compile.runtime import errors, loading, model, sequence

    homes = {"load": loading, "Model": model, "TokenSequence": sequence}
    for name in sala_compile.__all__:
        home = homes.get(name, errors)
        assert getattr(sala_compile, name) is getattr(home, name)
    assert set(sala_compile.__all__) <= set(dir(sala_compile))
    found = vars(errors).values()
    public = {c.__name__ for c in found if isinstance(c, type) and issubclass(c, errors.SalaError)}
    assert public <= set(sala_compile.__all__)
    with pytest.raises(AttributeError, match="no attribute 'generate'"):
        _ = sala_compile.generate


def test_type_checkers_see_every_public_name():
    """They read the imports under TYPE_CHECKING, which nothing else does."""
    tree = ast.parse((ROOT / NAMESPACE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = (node for node in block.body if isinstance(node, ast.ImportFrom))
    names = sorted(alias.name for node in imports for alias in node.names)
    assert names == sorted(sala_compile.__all__)
