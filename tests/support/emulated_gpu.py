"""A GPU that is none: the driver's methods over host memory, kernels run by Triton's interpreter.

Code is compiled to the name of its source only, so that an artifact for a GPU is quick to make.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from sala_compile.codegen.gpu_code.cubin import Cubin, KernelSource
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library
from sala_compile.runtime.devices.cuda import device as cuda_device
from sala_compile.runtime.devices.cuda.driver import GpuProperties
from sala_compile.runtime.errors import DeviceError, MemoryBudgetError
from tests.support.interpreted import run_code

RELEASE = "13.99"
"""The release of the assembler that there is not."""
TOTAL_BYTES = 1 << 30
SHARED_BYTES = 1024
"""What every kernel says to take."""

WARNING = "C7515: what an assembler might say"

HOPPER = GpuProperties("Emulated GPU", (9, 0), 227 << 10, TOTAL_BYTES)

_codes: dict[bytes, KernelSource] = {}


def name_source(source: KernelSource, target: CudaTarget, where: str) -> Cubin:
    """Stands for `compile_source`: code that only an emulated GPU runs."""
    code = b"\x7fELF emulated %d" % len(_codes)
    _codes[code] = source
    name = source.function.__name__
    return Cubin(code, name, 32, SHARED_BYTES, 16, 0, warnings=(WARNING,))


@contextmanager
def emulated_code() -> Iterator[None]:
    """Compile GPU kernels for emulated GPUs."""
    with _replaced(
        gpu_library, compile_source=name_source, assembler_version=lambda target: RELEASE
    ):
        yield


@contextmanager
def emulated_gpu(**options: Any) -> "Iterator[list[EmulatedDriver]]":
    """Give devices an emulated driver; the drivers that were opened."""
    opened: list[EmulatedDriver] = []

    def open_driver(ordinal: int = 0) -> EmulatedDriver:
        opened.append(EmulatedDriver(**options))
        return opened[-1]

    with _replaced(cuda_device, Driver=open_driver):
        yield opened


@contextmanager
def _replaced(module: ModuleType, **values: Any) -> Iterator[None]:
    """Replace what a module holds, for the block; a patch made in it has to end in it.

    One that outlives the block would put back, at its end, what only the block may see.
    """
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        crossed = [name for name in values if getattr(module, name) is not values[name]]
        for name, value in before.items():
            setattr(module, name, value)
    assert not crossed, f"a patch of {module.__name__}.{', '.join(crossed)} outlives its block"


@dataclass(frozen=True, slots=True)
class Work:
    """A launch: its function, the source of its code, its grid and its arguments."""

    function: int
    source: KernelSource
    grid: tuple[int, int, int]
    arguments: tuple[tuple[int, bool], ...]


@dataclass
class EmulatedDriver:
    """The methods of `runtime.devices.cuda.driver.Driver`; everything queued is done at once.

    While a stream is captured, launches are noted; copies into a captured stream are refused.
    `log` has the name of every call that moves or computes. `fail` may raise before a launch.
    """

    version: int = 13000
    properties: GpuProperties = HOPPER
    fail: Callable[[Work], None] | None = None
    log: list[str] = field(default_factory=list)
    launched: list[Work] = field(default_factory=list)
    memory: dict[int, np.ndarray] = field(default_factory=dict)
    pinned: dict[int, np.ndarray] = field(default_factory=dict)
    graphs: dict[int, list[Work]] = field(default_factory=dict)
    captured: list[Work] | None = None
    handles: int = 1
    live: set[int] = field(default_factory=set)
    modules: dict[int, bytes] = field(default_factory=dict)
    functions: dict[int, KernelSource] = field(default_factory=dict)
    loaded: set[int] = field(default_factory=set)
    closed: bool = False

    def close(self) -> None:
        self.closed = True

    @property
    def leftovers(self) -> list[Any]:
        """Whatever was taken and not given back."""
        return [*self.memory, *self.pinned, *self.graphs, *self.live, *self.modules]

    def memory_info(self) -> tuple[int, int]:
        used = sum(block.nbytes for block in self.memory.values())
        return TOTAL_BYTES - used - (len(self.graphs) << 16), TOTAL_BYTES

    def allocate(self, size: int) -> int:
        if size > self.memory_info()[0]:
            raise MemoryBudgetError(f"the emulated GPU refuses {size} bytes")
        return self._take(self.memory, size)

    def free(self, pointer: int) -> None:
        del self.memory[pointer]

    def allocate_host(self, size: int) -> np.ndarray:
        return self.pinned[self._take(self.pinned, size)]

    def free_host(self, memory: np.ndarray) -> None:
        del self.pinned[memory.ctypes.data]

    def stream(self) -> int:
        return self._handle()

    def destroy_stream(self, stream: int) -> None:
        self.live.remove(stream)

    def synchronize(self, stream: int) -> None:
        assert self.captured is None, "nothing may wait inside of a capture"
        self.log.append("synchronize")

    def event(self) -> int:
        return self._handle()

    def destroy_event(self, event: int) -> None:
        self.live.remove(event)

    def record(self, event: int, stream: int) -> None:
        assert event in self.live

    def wait(self, event: int) -> None:
        assert event in self.live
        self.log.append("wait")

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        self._move("copy_in", target, source, size, self.memory, self.pinned)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        self._move("copy_out", target, source, size, self.pinned, self.memory)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self._move("copy", target, source, size, self.memory, self.memory)

    def fill(self, target: int, byte: int, size: int, stream: int) -> None:
        assert self.captured is None
        _require(self.memory, target, size)
        ctypes.memset(target, byte, size)

    def load_module(self, image: bytes) -> int:
        assert image in _codes, "the code is not what was compiled"
        handle = self._handle()
        self.live.remove(handle)
        self.modules[handle] = image
        return handle

    def unload(self, module: int) -> None:
        del self.modules[module]

    def function(self, module: int, name: str) -> int:
        source = _codes[self.modules[module]]
        assert name == source.function.__name__
        handle = self._handle()
        self.live.remove(handle)
        self.functions[handle] = source
        return handle

    def load_function(self, function: int) -> None:
        assert self.captured is None
        self.loaded.add(function)

    def allow_shared(self, function: int, size: int) -> None:
        assert size <= self.properties.shared_bytes

    def prepare(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        arguments: Sequence[tuple[int, bool]],
    ) -> Work:
        assert arguments[-2:] == ((0, True), (0, True)), "Triton's two scratch pointers"
        return Work(function, self.functions[function], grid, tuple(arguments[:-2]))

    def launch(self, launches: Iterable[Work], stream: int) -> None:
        for prepared in launches:
            if self.captured is not None:
                assert prepared.function in self.loaded, "code would be loaded inside of a capture"
                self.captured.append(prepared)
                continue
            self.log.append("launch")
            self._run(prepared)

    def begin_capture(self, stream: int) -> None:
        assert self.captured is None
        self.captured = []

    def end_capture(self, stream: int) -> int:
        if self.captured is None:
            raise DeviceError("the stream is not being captured")
        noted, self.captured = self.captured, None
        graph = self._handle()
        self.live.remove(graph)
        self.graphs[graph] = noted
        self.log.append("capture")
        return graph

    def launch_graph(self, graph: int, stream: int) -> None:
        self.log.append("graph")
        for work in self.graphs[graph]:
            self._run(work)

    def destroy_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def _run(self, work: Work) -> None:
        if self.fail is not None:
            self.fail(work)
        self.launched.append(work)
        source = work.source
        kinds = {n: kind for n, kind in source.signature.items() if kind != "constexpr"}
        arguments = {
            name: (kind, value)
            for (name, kind), (value, is_address) in zip(kinds.items(), work.arguments, strict=True)
            if is_address == kind.startswith("*")
        }
        assert len(arguments) == len(kinds), "addresses stand where numbers should"
        run_code(source.function, work.grid, arguments, source.constants, self.memory.values())

    def _move(
        self,
        name: str,
        target: int,
        source: int,
        size: int,
        targets: dict[int, np.ndarray],
        sources: dict[int, np.ndarray],
    ) -> None:
        assert self.captured is None, "a copy inside of a capture"
        _require(targets, target, size)
        _require(sources, source, size)
        self.log.append(name)
        ctypes.memmove(target, source, size)

    def _take(self, blocks: dict[int, np.ndarray], size: int) -> int:
        """Aligned, and full of what no program may read."""
        block = np.full(max(1, size) + 256, 0xFF, np.uint8)
        start = -block.ctypes.data % 256
        inner = block[start : start + max(1, size)]
        blocks[inner.ctypes.data] = inner
        return inner.ctypes.data

    def _handle(self) -> int:
        self.handles += 1
        self.live.add(self.handles)
        return self.handles


def _require(blocks: dict[int, np.ndarray], address: int, size: int) -> None:
    """The span lies in one block."""
    inside = any(
        begin <= address and address + size <= begin + block.nbytes
        for begin, block in blocks.items()
    )
    assert inside, f"{size} bytes at {address:#x} are in no block"
