"""Linking a kernel library: compiled kernels, what runs them on threads, and the contract."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sala_compile.runtime.artifact import canonical_json
from sala_compile.runtime.artifact.contract import CONTRACT_SYMBOL, Contract
from sala_compile.runtime.errors import CompileError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("parallel_launch.cpp", "run_calls.cpp"))
"""What every library has besides its kernels."""
COMPILE_OPTIONS = (
    *("-c", "-O2", "-fPIC", "-std=c++17"),
    *("-fno-exceptions", "-fno-rtti", "-fvisibility=hidden"),
)
LINK_OPTIONS = ("-shared", "-fPIC", "-Wl,--build-id=none", "-Wl,-s")


def find_linker() -> str:
    """Return the C++ compiler that links libraries: `$CXX`, g++, clang++ or c++."""
    requested = os.environ.get("CXX")
    for name in [requested] if requested else ["g++", "clang++", "c++"]:
        path = shutil.which(name)
        if path:
            return path
    raise CompileError(
        f"the C++ compiler {requested!r} named by CXX is not there"
        if requested
        else "no C++ linker found",
        expected="g++ or clang++ on the PATH, or the variable CXX (needed for compiling only)",
        fix="install one, for instance: apt-get install g++",
    )


def link(objects: Sequence[bytes], contract: Contract | None, linker: str) -> bytes:
    """Link objects into a library; the temporary names do not reach it."""
    with tempfile.TemporaryDirectory(prefix="sala-link-") as folder:
        output, names = Path(folder, "kernels.so"), list[str]()
        for number, data in enumerate([*objects, *_own(linker)]):
            names.append(str(Path(folder, f"{number}.o")))
            Path(names[-1]).write_bytes(data)
        if contract is not None:
            names.append(str(Path(folder, "contract.s")))
            Path(names[-1]).write_text(_assembly(canonical_json(contract)))
        _run([linker, *LINK_OPTIONS, "-o", str(output), *names])
        return output.read_bytes()


@cache
def _own(compiler: str) -> list[bytes]:
    """The objects of `SOURCES`."""
    with tempfile.TemporaryDirectory(prefix="sala-own-") as folder:
        output, found = Path(folder, "own.o"), list[bytes]()
        for source in SOURCES:
            _run([compiler, *COMPILE_OPTIONS, "-o", str(output), str(source)])
            found.append(output.read_bytes())
        return found


def _run(command: Sequence[str]) -> None:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        raise CompileError(
            "linking the kernels failed",
            where=command[0],
            fix=result.stdout.decode(errors="replace")[-2000:],
        )


def _assembly(text: bytes) -> str:
    """Data under the symbol of the contract, ended by a zero byte."""
    return f""".section .rodata
.globl {CONTRACT_SYMBOL}
.type {CONTRACT_SYMBOL}, @object
{CONTRACT_SYMBOL}:
.byte {", ".join(map(str, text + bytes(1)))}
.size {CONTRACT_SYMBOL}, {len(text) + 1}
.section .note.GNU-stack,"",@progbits
"""
