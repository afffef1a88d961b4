"""Compiled kernels that all processes of a test run share: each is compiled once."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write import cpu_library

FOLDER = "SALA_TEST_OBJECTS"
"""The variable that names the folder, for processes that tests start."""

Compile = Callable[[str, Any, CpuTarget], bytes]


class SharedObjects:
    """The objects of kernels by symbol, target and structure, in a folder.

    The first who needs one compiles it, and whoever needs it meanwhile waits.
    """

    def __init__(self, folder: Path, compile_object: Compile) -> None:
        """The folder of one test run, and what compiles."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._compile = folder, compile_object

    def __call__(self, symbol: str, function: Any, target: CpuTarget) -> bytes:
        """The object of a PrimFunc."""
        file = self._folder / self._key(symbol, function, target)
        with file.with_name(f"{file.name}.lock").open("w") as lock:
            if not file.exists():
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                fresh = file.with_name(f"{file.name}.{os.getpid()}")
                fresh.write_bytes(self._compile(symbol, function, target))
                fresh.replace(file)
        return file.read_bytes()

    @staticmethod
    def _key(symbol: str, function: Any, target: CpuTarget) -> str:
        from tvm_ffi import structural_hash

        content = f"{symbol} {target.name} {structural_hash(function)}"
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def share_objects() -> None:
    """Let the compiler of this process take from the folder what others have compiled."""
    folder, compiler = os.environ.get(FOLDER), cpu_library.compile_object
    if folder and not isinstance(compiler, SharedObjects):
        cpu_library.compile_object = SharedObjects(Path(folder), compiler)
