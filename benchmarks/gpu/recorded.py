"""Code that the compiler's Triton made, for a machine that has another Triton or no assembler.

`recording` notes every function that is compiled inside a block as one of a group, `finish` writes
the code of all groups, and `replaying` gives it out again and compiles nothing.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sala_compile.codegen.gpu_code.cubin import Cubin, KernelSource
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library

TABLE, CODE = "kernel-tests.json", "kernel-tests.cubins"
PARTS = "kernel-tests"
"""A folder of what was compiled so far: a preparation that is cut off goes on."""
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
def keeping(folder: Path, *modules: Any) -> Iterator[None]:
    """Keep all that `modules` compile in the block, by their `compile_source`, and take it again.

    What is in `folder` has to be of the sources of this checkout.
    """
    with ExitStack() as stack:
        for module in modules:
            kept = partial(_kept, folder, module.compile_source)
            stack.enter_context(patch.object(module, "compile_source", kept))
        yield


@contextmanager
def recording(folder: Path, group: str) -> Iterator[None]:
    """Note what is compiled in the block as that of a group, when it ends without an error.

    What was compiled for the same sources before is not compiled again.
    """
    names: set[str] = set()
    releases: dict[str, str] = {}
    compile_source, assembler_version = gpu_library.compile_source, gpu_library.assembler_version

    def record(source: KernelSource, target: CudaTarget, where: str) -> Cubin:
        names.add(name_of(source, target))
        return _kept(folder, compile_source, source, target, where)

    def version(target: CudaTarget) -> str:
        return releases.setdefault(target.name, assembler_version(target))

    with _compiling(record, version):
        yield
    note = {"names": sorted(names), "releases": releases}
    _replace(_note(folder, group), json.dumps(note).encode())


def is_recorded(folder: Path, group: str) -> bool:
    """Whether a group is complete."""
    return _note(folder, group).exists()


def finish(folder: Path, sources: str, groups: Iterable[str]) -> None:
    """Write the code of all groups, each once; what was kept on the way is removed.

    `sources` is the digest of what it was compiled from.
    """
    notes = [json.loads(_note(folder, group).read_text()) for group in groups]
    releases = {target: release for note in notes for target, release in note["releases"].items()}
    names = {name for note in notes for name in note["names"]}
    made = {name: pickle.loads((folder / PARTS / name).read_bytes()) for name in names}
    _write(folder, sources, made, releases)
    shutil.rmtree(folder / PARTS)


def _note(folder: Path, group: str) -> Path:
    return folder / PARTS / f"{hashlib.sha256(group.encode()).hexdigest()}.json"


def _kept(
    folder: Path,
    compile_source: Callable[[KernelSource, CudaTarget, str], Cubin],
    source: KernelSource,
    target: CudaTarget,
    where: str,
) -> Cubin:
    """What was compiled before, or what is compiled now, which is kept."""
    path = folder / PARTS / name_of(source, target)
    if path.exists():
        return pickle.loads(path.read_bytes())
    cubin = compile_source(source, target, where)
    _replace(path, pickle.dumps(cubin))
    return cubin


def _replace(path: Path, content: bytes) -> None:
    """Write a file that other processes may write, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


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
