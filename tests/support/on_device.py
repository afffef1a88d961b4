"""GPU kernels run on the GPU of this machine, with the interface of `tests.support.interpreted`.

A kernel is compiled by the Triton that is there, for the architecture that is there, and launched
through the runtime's driver: what the interpreter cannot show (layouts, races, the tensor cores).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import numpy as np

from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write.gpu_library import build_library
from sala_compile.runtime.artifact import LaunchInfo
from sala_compile.runtime.artifact.architectures import serving
from sala_compile.runtime.devices.cuda.binding import BoundKernel
from sala_compile.runtime.devices.cuda.driver import Driver
from sala_compile.runtime.devices.cuda.library import STATIC_SHARED_BYTES
from sala_compile.runtime.devices.cuda.transfer import DeviceBuffer
from tests.support.interpreted import poison

GUARD = 256
"""Bytes before and behind every buffer that a kernel may not touch."""
GUARDED = 0xA5


@cache
def driver() -> Driver:
    """The first GPU, opened once."""
    return Driver(0)


def target() -> CudaTarget:
    """The architecture whose code the GPU runs."""
    code = serving(driver().properties.capability)
    assert code is not None, "no code is compiled for this GPU"
    return CudaTarget.parse(f"cuda:{code}")


@cache
def _stream() -> int:
    return driver().stream()


def run(
    kernel: GpuKernel,
    buffers: Mapping[str, np.ndarray],
    sizes: Mapping[str, int],
    *,
    poisoned: Iterable[str] = (),
    backwards: bool = False,
) -> None:
    """Run a kernel on copies of the buffers, and copy them back; nothing around them may change.

    Buffers that are one array are one copy. `backwards` means nothing here: a GPU runs the programs
    of a grid in its own order.
    """
    for name in poisoned:
        poison(buffers[name])
    places: dict[tuple[int, int], int] = {}
    held: dict[str, int] = {}
    try:
        for name, array in buffers.items():
            which = (array.ctypes.data, array.nbytes)
            if which not in places:
                places[which] = _placed(array)
            held[name] = places[which]
        _launch(kernel, buffers, held, sizes)
        for name, array in buffers.items():
            _fetched(name, array, held[name])
    finally:
        for address in places.values():
            driver().free(address)


def _placed(array: np.ndarray) -> int:
    """A guarded copy of an array in the GPU's memory."""
    size = array.nbytes + 2 * GUARD
    address = driver().allocate(size)
    with _pinned(size) as block:
        block[:] = GUARDED
        block[GUARD : GUARD + array.nbytes] = array.reshape(-1).view(np.uint8)
        driver().copy_in(address, block.ctypes.data, size, _stream())
        driver().synchronize(_stream())
    return address


def _fetched(name: str, array: np.ndarray, address: int) -> None:
    """Copy an array back; AssertionError where a kernel wrote beside it."""
    size = array.nbytes + 2 * GUARD
    with _pinned(size) as block:
        driver().copy_out(block.ctypes.data, address, size, _stream())
        driver().synchronize(_stream())
        around = np.concatenate([block[:GUARD], block[GUARD + array.nbytes :]])
        assert (around == GUARDED).all(), f"a kernel wrote beside {name}"
        array.reshape(-1).view(np.uint8)[...] = block[GUARD : GUARD + array.nbytes]


@contextmanager
def _pinned(size: int) -> Iterator[np.ndarray]:
    block = driver().allocate_host(size)
    try:
        yield block[:size]
    finally:
        driver().free_host(block)


def _launch(
    kernel: GpuKernel,
    buffers: Mapping[str, np.ndarray],
    held: Mapping[str, int],
    sizes: Mapping[str, int],
) -> None:
    built = build_library({kernel.symbol: kernel}, target(), "kernels.cubins", lambda _: None)
    info = built.table.kernels[kernel.symbol]
    names = [parameter.name for parameter in kernel.parameters]
    places = [
        DeviceBuffer(held[name] + GUARD, buffers[name].shape, buffers[name].dtype) for name in names
    ]
    for launch in BoundKernel(kernel.symbol, info, names, places).launches(sizes):
        prepared = driver().prepare(
            _function(built.cubins, launch.info),
            launch.grid,
            launch.info.threads,
            launch.info.shared_bytes,
            launch.arguments,
        )
        driver().launch([prepared], _stream())
    driver().synchronize(_stream())


_functions: dict[bytes, int] = {}


def _function(cubins: bytes, launch: LaunchInfo) -> int:
    """The code of a launch, loaded once."""
    image = cubins[launch.offset : launch.offset + launch.size]
    if image not in _functions:
        function = driver().function(driver().load_module(image), launch.entry)
        if launch.shared_bytes > STATIC_SHARED_BYTES:
            driver().allow_shared(function, launch.shared_bytes)
        _functions[image] = function
    return _functions[image]
