"""The CUDA driver: libcuda.so.1, opened by itself, in Python's terms.

Addresses and handles are integers. Nothing else in the runtime knows ctypes or the driver's names.
"""

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.devices.cuda.calls import Attribute, DriverError, Refusal
from sala_compile.runtime.devices.cuda.opening import LIBRARY, failure, initialise, open_library
from sala_compile.runtime.errors import MemoryBudgetError, RequestError

_PORTABLE = 1
_NO_TIMING = 2
_NON_BLOCKING = 1
_THREAD_LOCAL_CAPTURE = 1
_REGISTERS = 4
_DYNAMIC_SHARED_BYTES = 8


@dataclass(frozen=True, slots=True)
class GpuProperties:
    """A GPU: its name, compute capability such as (9, 0), and shared memory of a block."""

    name: str
    capability: tuple[int, int]
    shared_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class PreparedLaunch:
    """A launch whose arguments are packed: `pointers` point into `values`."""

    function: int
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    values: Any
    pointers: Any


class Driver:
    """One GPU, its primary context is current in the thread only during a call.

    Other drivers, and other libraries that use a GPU in the thread, find their own as it was.
    """

    def __init__(self, ordinal: int = 0) -> None:
        """Open the driver and the GPU; RequestError if there is none."""
        self._library = open_library()
        self._context = ctypes.c_void_p()
        self._device = ctypes.c_int()
        initialise(self._library)
        self.version = self._integer("cuDriverGetVersion")
        count = self._integer("cuDeviceGetCount")
        if not 0 <= ordinal < count:
            raise RequestError(
                f"there is no GPU number {ordinal}",
                where=LIBRARY,
                expected=f"0 to {count - 1}" if count else "a GPU that this process can see",
                fix="choose another device, or run on the CPU: --device cpu",
            )
        self._check("cuDeviceGet", ctypes.byref(self._device), ordinal)
        self._check("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.properties = self._properties()

    def close(self) -> None:
        """Release the context; everything taken in it has to be released before."""
        if self._context:
            self._context = ctypes.c_void_p()
            self._library.cuDevicePrimaryCtxRelease_v2(self._device)

    def memory_info(self) -> tuple[int, int]:
        """Free and total bytes of the GPU's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> int:
        """`size` bytes of the GPU's memory; MemoryBudgetError if they are refused."""
        pointer = ctypes.c_uint64()
        try:
            self._call("cuMemAlloc_v2", ctypes.byref(pointer), max(1, size))
        except DriverError as error:
            if error.code != Refusal.OUT_OF_MEMORY:
                raise
            free, total = self.memory_info()
            raise MemoryBudgetError(
                f"{self.properties.name} refuses {size} bytes ({format_bytes(size)}) of memory",
                expected=f"at most {free} bytes ({format_bytes(free)}), free of {total}",
                fix="load with a smaller context or batch, or memory=",
            ) from error
        return pointer.value

    def free(self, pointer: int) -> None:
        """Release memory of the GPU."""
        self._call("cuMemFree_v2", pointer)

    def allocate_host(self, size: int) -> np.ndarray:
        """`size` bytes of host memory that the GPU copies from by itself, uint8."""
        pointer = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(pointer), max(1, size), _PORTABLE)
        buffer = (ctypes.c_uint8 * max(1, size)).from_address(pointer.value or 0)
        return np.ctypeslib.as_array(buffer)

    def free_host(self, memory: np.ndarray) -> None:
        """Release memory of `allocate_host`; no view may be used afterwards."""
        self._call("cuMemFreeHost", memory.ctypes.data)

    def stream(self) -> int:
        """A queue of work that does not wait for others."""
        return self._handle("cuStreamCreate", _NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream when its work is done."""
        self._call("cuStreamDestroy_v2", stream)

    def synchronize(self, stream: int) -> None:
        """Wait until everything in the stream is done."""
        self._call("cuStreamSynchronize", stream)

    def event(self) -> int:
        """A mark that `record` sets and `wait` waits for."""
        return self._handle("cuEventCreate", _NO_TIMING)

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        self._call("cuEventDestroy_v2", event)

    def record(self, event: int, stream: int) -> None:
        """Set the mark after what is in the stream by now."""
        self._call("cuEventRecord", event, stream)

    def wait(self, event: int) -> None:
        """Wait for the mark; one that was never set is passed at once."""
        self._call("cuEventSynchronize", event)

    def copy_in(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy from host memory at `source` to the GPU, in the order of the stream."""
        self._call("cuMemcpyHtoDAsync_v2", target, source, size, stream)

    def copy_out(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy from the GPU to host memory at `target`, in the order of the stream."""
        self._call("cuMemcpyDtoHAsync_v2", target, source, size, stream)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy within the GPU's memory, in the order of the stream."""
        self._call("cuMemcpyDtoDAsync_v2", target, source, size, stream)

    def fill(self, target: int, byte: int, size: int, stream: int) -> None:
        """Set bytes of the GPU's memory, in the order of the stream."""
        self._call("cuMemsetD8Async", target, byte, size, stream)

    def load_module(self, image: bytes) -> int:
        """Load a cubin."""
        module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), image)
        return module.value or 0

    def unload(self, module: int) -> None:
        """Unload a module."""
        self._call("cuModuleUnload", module)

    def function(self, module: int, name: str) -> int:
        """A kernel of a module."""
        found = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
        return found.value or 0

    def load_function(self, function: int) -> None:
        """Load a kernel's code onto the GPU now: the driver would load it with its first launch,
        which no captured stream may have to wait for."""
        if hasattr(self._library, "cuFuncLoad"):
            self._call("cuFuncLoad", function)
            return
        value = ctypes.c_int()  # the value is known of loaded code only
        self._call("cuFuncGetAttribute", ctypes.byref(value), _REGISTERS, function)

    def allow_shared(self, function: int, size: int) -> None:
        """Let launches of a kernel take up to `size` bytes of dynamic shared memory."""
        self._call("cuFuncSetAttribute", function, _DYNAMIC_SHARED_BYTES, size)

    def prepare(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        arguments: Sequence[tuple[int, bool]],
    ) -> PreparedLaunch:
        """A launch with (value, whether it is an address, else an int32) for each argument."""
        values = (ctypes.c_uint64 * len(arguments))()
        for index, (value, is_address) in enumerate(arguments):
            values[index] = value if is_address else value & 0xFFFFFFFF
        begin = ctypes.addressof(values)
        pointers = (ctypes.c_void_p * len(arguments))(
            *(begin + 8 * index for index in range(len(arguments)))
        )
        return PreparedLaunch(function, grid, threads, shared_bytes, values, pointers)

    def launch(self, launches: Iterable[PreparedLaunch], stream: int) -> None:
        """Start prepared launches, in the order of the stream."""
        before = self._found()
        try:
            self._enter(before)
            for each in launches:
                blocks = (*each.grid, each.threads, 1, 1, each.shared_bytes)
                self._check("cuLaunchKernel", each.function, *blocks, stream, each.pointers, None)
        finally:
            self._leave(before)

    def begin_capture(self, stream: int) -> None:
        """Record what is put into the stream from now on, instead of running it."""
        self._call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL_CAPTURE)

    def end_capture(self, stream: int) -> int:
        """The captured graph, ready to be launched."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
        finally:
            if graph:
                self._call("cuGraphDestroy", graph)
        return executable.value or 0

    def launch_graph(self, graph: int, stream: int) -> None:
        """Start everything in a graph, in the order of the stream."""
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph."""
        self._call("cuGraphExecDestroy", graph)

    def _properties(self) -> GpuProperties:
        name = ctypes.create_string_buffer(256)
        self._check("cuDeviceGetName", name, 256, self._device)
        total = ctypes.c_size_t()
        self._check("cuDeviceTotalMem_v2", ctypes.byref(total), self._device)
        capability = (
            self._attribute(Attribute.CAPABILITY_MAJOR),
            self._attribute(Attribute.CAPABILITY_MINOR),
        )
        shared = self._attribute(Attribute.SHARED_BYTES_OPTIN)
        return GpuProperties(name.value.decode(), capability, shared, total.value)

    def _attribute(self, attribute: Attribute) -> int:
        return self._integer("cuDeviceGetAttribute", int(attribute), self._device)

    def _integer(self, name: str, *arguments: Any) -> int:
        value = ctypes.c_int()
        self._check(name, ctypes.byref(value), *arguments)
        return value.value

    def _handle(self, name: str, *arguments: Any) -> int:
        handle = ctypes.c_void_p()
        self._call(name, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def _call(self, name: str, *arguments: Any) -> None:
        """Call with the GPU's context current in this thread."""
        before = self._found()
        try:
            self._enter(before)
            self._check(name, *arguments)
        finally:
            self._leave(before)

    def _found(self) -> int | None:
        """The context that is current in this thread; only the driver knows."""
        found = ctypes.c_void_p()
        self._check("cuCtxGetCurrent", ctypes.byref(found))
        return found.value

    def _enter(self, before: int | None) -> None:
        if before != self._context.value:
            self._check("cuCtxSetCurrent", self._context)

    def _leave(self, before: int | None) -> None:
        if before != self._context.value:
            self._library.cuCtxSetCurrent(before)

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise failure(self._library, name, code)
