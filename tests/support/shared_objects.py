"""Compiled kernels that all processes of a test run share: each is compiled once."""

import fcntl
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write import cpu_library

FOLDER = "SALA_TEST_OBJECTS"
"""The variable that names the folder, for processes that tests start."""

Compile = Callable[[str, Any, CpuTarget], bytes]


class SharedFiles:
    """Bytes by what they follow from, in the folder of one test run.

    The first who needs some makes them, and whoever needs them meanwhile waits.
    """

    def __init__(self, folder: Path) -> None:
        """The folder, which need not be there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def take(self, content: str, make: Callable[[], bytes]) -> bytes:
        """What was made of a content, or is made now."""
        file = self._folder / hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        with file.with_name(f"{file.name}.lock").open("w") as lock:
            if not file.exists():
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                fresh = file.with_name(f"{file.name}.{os.getpid()}")
                fresh.write_bytes(make())
                fresh.replace(file)
        return file.read_bytes()


class SharedObjects:
    """The objects of kernels for CPUs by symbol, target and structure."""

    def __init__(self, folder: Path, compile_object: Compile) -> None:
        """The folder of one test run, and what compiles."""
        self._files, self._compile = SharedFiles(folder), compile_object

    def __call__(self, symbol: str, function: Any, target: CpuTarget) -> bytes:
        """The object of a PrimFunc."""
        from tvm_ffi import structural_hash

        content = f"{symbol} {target.name} {structural_hash(function)}"
        return self._files.take(content, lambda: self._compile(symbol, function, target))


class SharedPtx:
    """PTX of launches for GPUs by source and architecture, and those facts that JSON can hold."""

    def __init__(self, folder: Path, write_ptx: Callable[..., tuple[str, dict[str, Any]]]) -> None:
        """The folder of one test run, and Triton's stages."""
        self._files, self.alone = SharedFiles(folder), write_ptx

    def __call__(self, source: Any, target: Any) -> tuple[str, dict[str, Any]]:
        """The text and the facts of a `KernelSource`."""
        from sala_compile.codegen.gpu_code.assembler import assembler_version

        (_, *rest), constants = source.key, source.constants
        functions = {name: getattr(x, "cache_key", None) for name, x in constants.items()}
        release = assembler_version(target)
        content = repr((source.function.cache_key, functions, rest, target.name, release))

        def make() -> bytes:
            text, facts = self.alone(source, target)
            plain = {name: x for name, x in facts.items() if x is None or isinstance(x, str | int)}
            return json.dumps([text, plain]).encode()

        text, facts = json.loads(self._files.take(content, make))
        return text, facts


class SharedCode:
    """Assembled code of PTX."""

    def __init__(self, folder: Path, assemble: Callable[..., Any]) -> None:
        """The folder of one test run, and what assembles."""
        self._files, self.alone = SharedFiles(folder), assemble

    def __call__(self, text: str, target: Any, *, fusion: bool) -> Any:
        """What `assemble` gives; what fails is tried again."""
        from triton.backends.nvidia.compiler import get_ptxas

        def make() -> bytes:
            return pickle.dumps(self.alone(text, target, fusion=fusion))

        content = f"{get_ptxas(target.architecture).path} {target.name} {fusion} {text}"
        return pickle.loads(self._files.take(content, make))


def share_objects() -> None:
    """Let the compilers of this process take from the folder what others have compiled."""
    name, compiler = os.environ.get(FOLDER), cpu_library.compile_object
    if not name or isinstance(compiler, SharedObjects):
        return
    folder = Path(name)
    cpu_library.compile_object = SharedObjects(folder, compiler)
    if find_spec("triton") is None:
        return
    from sala_compile.codegen.gpu_code import cubin

    cubin._ptx = SharedPtx(folder, cubin._ptx)
    cubin.assemble = SharedCode(folder, cubin.assemble)
