"""The libraries of the CPU, their kernels and threads."""

import ctypes
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tvm_ffi

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.artifact.contract import (
    CONTRACT_SYMBOL,
    Contract,
    read_contract,
    require_contract,
)
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.artifact.processor import TILES, permit_tiles
from sala_compile.runtime.devices.cpu.disk_speed import read_speed
from sala_compile.runtime.devices.cpu.kernel_runtime import KernelRuntime
from sala_compile.runtime.devices.cpu.memory import CpuMemory, available_memory
from sala_compile.runtime.devices.cpu.program import RUN_CALLS, CpuProgram
from sala_compile.runtime.devices.cpu.thread_team import OPEN, LibraryThreads
from sala_compile.runtime.devices.device import Advance
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.plan import MemoryPlan
from sala_compile.runtime.plan.weight_reads import disk_note, weight_reads

FFI_PACKAGE = "apache-tvm-ffi"
Kernel = Callable[..., Any]


_kernel_runtime = KernelRuntime()
_spellings: dict[str, list[tuple[int, int]]] = {}


def _spelling(file: OpenFile) -> str:
    """A path of the open file that no other file was opened by.

    The dynamic linker takes an equal spelling for the library that it has, although the descriptor
    may be that of another file by now.
    """
    folder, _, name = file.link.rpartition("/")
    files = _spellings.setdefault(file.link, [])
    if file.identity not in files:
        files.append(file.identity)
    detour = "/." * files.index(file.identity)
    return f"{folder}{detour}/{name}"


class CpuDevice:
    """The kernels of one artifact's library for a processor, and the threads they run on."""

    def __init__(self, artifact: Artifact, target: str, threads: int) -> None:
        """Nothing is loaded yet."""
        self._artifact = artifact
        self._module: Any = None
        self._threads: LibraryThreads | None = None
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

    def notes(self, plan: MemoryPlan) -> tuple[str, ...]:
        """What it costs if free memory does not hold the weights that are mapped."""
        artifact = self._artifact
        weights = artifact.weight_bytes_of(self.target)
        held = available_memory() - (plan.total_bytes - weights)
        if artifact.manifest.seeded is not None or held >= weights:
            return ()
        files = [artifact.file(path) for path in artifact.weight_files_of(self.target)]
        speed = read_speed(max(files, key=lambda file: file.size))
        return (disk_note(weight_reads(artifact, self.target), weights, held, speed),)

    def open(self) -> None:
        """Open the library, whose hash was checked; ArtifactError if it does not fit."""
        artifact = self._artifact
        info = artifact.target(self.target)
        _check_ffi(artifact)
        if info.runtime is not None:
            _kernel_runtime.load(artifact, info.runtime, _spelling)
        if TILES in info.instructions:
            permit_tiles()
        library = artifact.library(self.target)
        self._where = str(library.path)
        spelling = _spelling(library)
        try:
            self._module = _load_module(spelling)
            opened = ctypes.CDLL(spelling)
            contract = _contract(opened)
        except Exception as error:  # the loader raises what the library's format raises
            raise ArtifactError(
                f"the library cannot be opened: {error}", where=self._where
            ) from None
        require_contract(contract, artifact.contract(self.target), self._where)
        if hasattr(opened, OPEN):
            self._threads = LibraryThreads(opened, self.workers)

    def memory(self, plan: MemoryPlan, *, poison: bool, advance: Advance | None) -> CpuMemory:
        """One mapping for the plan; weights are mapped files, which need no copy."""
        return CpuMemory(plan, self._artifact, self.target, poison=poison)

    def bind(self, memory: CpuMemory) -> CpuProgram:
        """The program over the buffers of `memory`."""
        program = self._artifact.program.targets[self.target]
        runner = self.kernel(RUN_CALLS) if self.has(RUN_CALLS) else None
        return CpuProgram(program, self.kernel, memory.tensors, self.use_threads, runner)

    def close(self) -> None:
        """End the worker threads; a process keeps its libraries."""
        if self._threads is not None:
            self._threads.close()

    def kernel(self, symbol: str) -> Kernel:
        """The kernel with this name; ArtifactError if the library has none."""
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
        if self._threads is not None:
            self._threads.enter()
        else:  # a library of an older format, which runs on the pool of the kernel runtime
            _kernel_runtime.use_threads(self.workers)

    def has(self, symbol: str) -> bool:
        """Whether the open library has a kernel of this name."""
        return bool(self._module.implements_function(symbol))


def _load_module(path: str) -> Any:
    """The module in a library; by the function that is for libraries, since the path has no end."""
    module = tvm_ffi.get_global_func("ffi.Module.load_from_file.so")(path, "so")
    tvm_ffi.get_global_func("ffi.ModuleGlobalsAdd")(module)  # the process keeps it
    return module


def _contract(library: ctypes.CDLL) -> Contract | None:
    """The contract in a library."""
    try:
        begin = ctypes.c_char.in_dll(library, CONTRACT_SYMBOL)
    except ValueError:
        return None
    return read_contract(ctypes.string_at(ctypes.addressof(begin)))


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
