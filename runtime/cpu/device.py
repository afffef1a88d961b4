"""The libraries of the CPU, their kernels and threads."""

import ctypes
import os
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tvm_ffi

from runtime.artifact import Artifact
from runtime.artifact.opened import OpenFile
from runtime.artifact.processor import TILES, permit_tiles
from runtime.cpu.memory import CpuMemory, available_memory
from runtime.cpu.program import CpuProgram
from runtime.device import Advance
from runtime.errors import ArtifactError
from runtime.plan import MemoryPlan
from runtime.threads import available_cpus

FFI_PACKAGE = "apache-tvm-ffi"
Kernel = Callable[..., Any]


class _Process:
    """What exists once in a process: the kernel runtime, and the threads of each Python thread."""

    def __init__(self) -> None:
        self.runtime_hash: str | None = None
        self.local = threading.local()
        self._files: dict[str, list[tuple[int, int]]] = {}

    def spelling(self, file: OpenFile) -> str:
        """A path of the open file that no other file was opened by.

        The dynamic linker takes an equal spelling for the library that it has, although the
        descriptor may be that of another file by now.
        """
        folder, _, name = file.link.rpartition("/")
        files = self._files.setdefault(file.link, [])
        if file.identity not in files:
            files.append(file.identity)
        detour = "/." * files.index(file.identity)
        return f"{folder}{detour}/{name}"


_process = _Process()


class CpuDevice:
    """The kernels of one artifact's library for a processor, and the threads they run on."""

    def __init__(self, artifact: Artifact, target: str, threads: int) -> None:
        """Nothing is loaded yet."""
        self._artifact = artifact
        self._module: Any = None
        self.target = target
        self.workers = threads

    @property
    def describe(self) -> str:
        """The number of threads."""
        return f"{self.workers} threads"

    def available(self) -> int:
        """Free memory, and the weight files, which are no memory of the process."""
        is_mapped = self._artifact.manifest.seeded is None
        mapped = self._artifact.weight_bytes_of(self.target) if is_mapped else 0
        return available_memory() + mapped

    def open(self) -> None:
        """Open the library, whose hash was checked; ArtifactError where it does not fit."""
        artifact = self._artifact
        info = artifact.target(self.target)
        _check_ffi(artifact)
        if info.runtime is not None:
            _load_runtime(artifact, info.runtime)
        if TILES in info.instructions:
            permit_tiles()
        library = artifact.library(self.target)
        self._where = str(library.path)
        try:
            self._module = _load_module(_process.spelling(library))
        except Exception as error:  # the loader raises what the library's format raises
            raise ArtifactError(
                f"the library cannot be opened: {error}", where=self._where
            ) from None

    def memory(self, plan: MemoryPlan, *, poison: bool, advance: Advance | None) -> CpuMemory:
        """One mapping for the plan; weights are mapped files, which nothing brings."""
        return CpuMemory(plan, self._artifact, self.target, poison=poison)

    def bind(self, memory: CpuMemory) -> CpuProgram:
        """The program over the buffers of `memory`."""
        program = self._artifact.program.targets[self.target]
        return CpuProgram(program, self.kernel, memory.tensors, self.use_threads)

    def close(self) -> None:
        """Nothing: a process keeps its libraries."""

    def kernel(self, symbol: str) -> Kernel:
        """The kernel with this name; ArtifactError where the library has none."""
        function = self._module.get_function(symbol) if self.has(symbol) else None
        if function is None:
            raise ArtifactError(
                f"the library has no kernel {symbol}",
                where=self._where,
                expected="every kernel that program.json names",
                fix="compile again",
            )
        return function

    def use_threads(self) -> None:
        """Make parallel kernels called from this Python thread run on `workers` threads."""
        if getattr(_process.local, "threads", None) == self.workers:
            return
        configure = tvm_ffi.get_global_func("runtime.config_threadpool", allow_missing=True)
        if configure is not None:
            if not hasattr(_process.local, "threads"):
                # The pool is made by the first call and never grows: make it large enough.
                configure(1, max(self.workers, available_cpus()), _cpus(self.workers))
            configure(1, self.workers, _cpus(self.workers))
        _process.local.threads = self.workers

    def has(self, symbol: str) -> bool:
        """Whether the open library has a kernel of this name."""
        return bool(self._module.implements_function(symbol))


def _load_module(path: str) -> Any:
    """The module in a library; by the function that is for libraries, since the path has no end."""
    module = tvm_ffi.get_global_func("ffi.Module.load_from_file.so")(path, "so")
    tvm_ffi.get_global_func("ffi.ModuleGlobalsAdd")(module)  # the process keeps it
    return module


def _cpus(threads: int) -> list[str]:
    """At least as many CPU numbers as there will ever be threads in the pool."""
    allowed = sorted(os.sched_getaffinity(0))
    count = max(threads, len(allowed))
    return [str(allowed[index % len(allowed)]) for index in range(count)]


def _check_ffi(artifact: Artifact) -> None:
    try:
        found = version(FFI_PACKAGE)
    except PackageNotFoundError:
        found = tvm_ffi.__version__
    expected = artifact.manifest.versions.get(FFI_PACKAGE)
    if expected is not None and found != expected:
        raise ArtifactError(
            f"{FFI_PACKAGE} {found} is installed",
            where=str(artifact.directory),
            expected=f"{FFI_PACKAGE} {expected}, for which the libraries were made",
            fix=f"pip install {FFI_PACKAGE}=={expected}",
        )


def _load_runtime(artifact: Artifact, path: str) -> None:
    """Load the kernel runtime, once in a process: a second copy would register everything twice."""
    digest = artifact.manifest.files[path].sha256
    if _process.runtime_hash is not None and _process.runtime_hash != digest:
        raise ArtifactError(
            "another version of the kernel runtime is loaded in this process",
            where=str(artifact.directory / path),
            expected="one version in a process",
            fix="use a new process, or compile both models with the same version",
        )
    if tvm_ffi.get_global_func("runtime.config_threadpool", allow_missing=True) is None:
        # Pinned threads would ignore the CPUs that this process is confined to.
        os.environ.setdefault("TVM_BIND_THREADS", "0")
        try:
            ctypes.CDLL(_process.spelling(artifact.file(path)), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ArtifactError(
                f"the kernel runtime cannot be loaded: {error}", where=path
            ) from None
        _process.runtime_hash = digest
