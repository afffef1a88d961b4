"""Code that the compiler's Triton made, for a machine that has another Triton or no assembler.

`recording` keeps every function that is compiled inside the block, `replaying` gives it out again
and compiles nothing.
"""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sala_compile.codegen.gpu_code.cubin import Cubin, KernelSource
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library

TABLE, CODE = "kernel-tests.json", "kernel-tests.cubins"
PARTS = "kernel-tests"
"""A folder of what was compiled so far: a recording that is cut off goes on."""
ROOT = Path(__file__).parents[2]
SOURCES = (
    *("codegen", "passes", "sala_ir", "tests/codegen/kernels", "tests/support"),
    "benchmarks/gpu/released_checks.py",
)
"""What decides which functions and artifacts there are, and what their code is."""


class Stale(Exception):
    """What was prepared is not for this checkout, or lacks a function."""


def name_of(source: KernelSource, target: CudaTarget) -> str:
    """A name of a source and a target that is the same in every process."""
    function = source.function.fn
    parts = (f"{function.__module__}.{function.__qualname__}", *source.key[1:], target.name)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def digest_of_sources() -> str:
    """The digest of every file that the prepared code depends on."""
    digest = hashlib.sha256()
    for name in SOURCES:
        place = ROOT / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(folder: Path) -> bool:
    """Whether the code in `folder` was prepared for this checkout."""
    path = folder / TABLE
    return path.exists() and json.loads(path.read_text())["sources"] == digest_of_sources()


@contextmanager
def recording(folder: Path, sources: str) -> Iterator[None]:
    """Write all that is compiled in the block to `folder`, when it ends without an error.

    What was compiled for the same sources before is not compiled again. `sources` is the digest of
    what it is compiled from.
    """
    made: dict[str, Cubin] = {}
    releases: dict[str, str] = {}
    compile_source, assembler_version = gpu_library.compile_source, gpu_library.assembler_version

    def record(source: KernelSource, target: CudaTarget, where: str) -> Cubin:
        name = name_of(source, target)
        path = folder / PARTS / name
        made[name] = _kept(path, lambda: compile_source(source, target, where))
        return made[name]

    def version(target: CudaTarget) -> str:
        return releases.setdefault(target.name, assembler_version(target))

    with _compiling(record, version):
        yield
    _write(folder, sources, made, releases)
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _kept(path: Path, compile_it: Callable[[], Cubin]) -> Cubin:
    """What an earlier recording compiled, or what is compiled now, which is kept."""
    if path.exists():
        return pickle.loads(path.read_bytes())
    cubin = compile_it()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(pickle.dumps(cubin))
    part.replace(path)
    return cubin


@contextmanager
def replaying(folder: Path) -> Iterator[None]:
    """Take all code from `folder`; Stale where it was not prepared for this checkout."""
    if not is_current(folder):
        raise Stale(f"{folder / TABLE} is of another checkout: run benchmarks.gpu.prepare again")
    table = json.loads((folder / TABLE).read_text())
    code = (folder / CODE).read_bytes()

    def look_up(source: KernelSource, target: CudaTarget, where: str) -> Cubin:
        found = table["cubins"].get(name_of(source, target))
        if found is None:
            raise Stale(f"{source.function.__name__} of {where} was not prepared for {target.name}")
        facts = dict(found)
        begin, size = facts.pop("place")
        warnings = tuple(facts.pop("warnings"))
        return Cubin(code[begin : begin + size], warnings=warnings, **facts)

    with _compiling(look_up, lambda target: table["releases"][target.name]):
        yield


@contextmanager
def _compiling(compile_source: Any, assembler_version: Any) -> Iterator[None]:
    """Have libraries compiled by other functions, and nothing known from before."""
    with (
        patch.object(gpu_library, "compile_source", compile_source),
        patch.object(gpu_library, "assembler_version", assembler_version),
        patch.object(gpu_library, "_cubins", {}),
    ):
        yield


def _write(folder: Path, sources: str, made: dict[str, Cubin], releases: dict[str, str]) -> None:
    code, cubins = bytearray(), {}
    places: dict[bytes, tuple[int, int]] = {}
    for name, cubin in sorted(made.items()):
        if cubin.code not in places:
            places[cubin.code] = (len(code), len(cubin.code))
            code += cubin.code
        facts = asdict(cubin)
        del facts["code"]
        cubins[name] = facts | {"place": places[cubin.code]}
    table = {"sources": sources, "releases": releases, "cubins": cubins}
    (folder / CODE).write_bytes(code)
    (folder / TABLE).write_text(json.dumps(table, indent=1) + "\n")
