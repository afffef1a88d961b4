"""The library of a GPU target: launches compiled, codes in one file, the table next to it."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.gpu_code.assembler import assembler_version
from sala_compile.codegen.gpu_code.cubin import Cubin, compile_source, multiple_of, source_of
from sala_compile.codegen.kernels.triton.kernel import (
    Argument,
    Extent,
    GpuKernel,
    Grid,
    Launch,
    Pointer,
    Slabs,
    SlabStart,
)
from sala_compile.codegen.progress import Advance
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.runtime.artifact import (
    ArgumentInfo,
    ArgumentKind,
    ElementType,
    GpuKernelInfo,
    GpuLibrary,
    GridInfo,
    LaunchInfo,
    ParameterInfo,
    SlabsInfo,
)
from sala_compile.runtime.artifact.gpu import CUBIN_ALIGNMENT
from sala_compile.runtime.common.threads import available_cpus

SCRATCH = (ArgumentInfo(kind=ArgumentKind.NULL),) * 2
"""Pointers that Triton appends to the arguments of every function."""

_cubins: dict[tuple[Any, ...], Cubin] = {}


@dataclass(frozen=True, slots=True)
class BuiltLibrary:
    """The table of a library and the file of its cubins."""

    table: GpuLibrary
    cubins: bytes


def build_library(
    kernels: Mapping[str, GpuKernel], target: CudaTarget, cubins: str, advance: Advance
) -> BuiltLibrary:
    """Compile all launches of kernels (by symbol); `cubins` is the path of their file.

    Equal launches are compiled once in a process and stored once. The bytes depend on the kernels,
    the architecture and the versions of Triton and its assembler only.
    """
    release = assembler_version(target)
    _compile_missing(kernels, target, release, advance)
    store = _Store(target, release)
    infos = {symbol: store.kernel(kernels[symbol]) for symbol in sorted(kernels)}
    table = GpuLibrary(
        architecture=target.processor,
        driver=oldest_driver(release),
        toolkit=release,
        cubins=cubins,
        kernels=infos,
    )
    return BuiltLibrary(table, bytes(store.data))


def oldest_driver(release: str) -> int:
    """The oldest CUDA version whose drivers load code of a toolkit: the first of its generation."""
    return int(release.split(".")[0]) * 1000


def _compile_missing(
    kernels: Mapping[str, GpuKernel], target: CudaTarget, release: str, advance: Advance
) -> None:
    """Compile what this process has not compiled, on all CPUs; `advance` receives each kernel."""
    with _without_line_numbers(), ThreadPoolExecutor(available_cpus()) as pool:
        pending: dict[tuple[Any, ...], Any] = {}
        for symbol, kernel in kernels.items():
            for launch, slab in _launches(kernel):
                source = source_of(launch, kernel, slab)
                key = (source.key, target, release)
                if key not in _cubins and key not in pending:
                    pending[key] = pool.submit(compile_source, source, target, symbol)
        try:
            for kernel in kernels.values():
                for launch, slab in _launches(kernel):
                    key = (source_of(launch, kernel, slab).key, target, release)
                    if key not in _cubins:
                        _cubins[key] = pending[key].result()
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)


def _launches(kernel: GpuKernel) -> Iterator[tuple[Launch, int]]:
    """Every launch of a kernel with the size of its slabs, 0 outside of them."""
    for step in kernel.launches:
        if isinstance(step, Slabs):
            yield from ((launch, step.size) for launch in step.launches)
        else:
            yield step, 0


@contextmanager
def _without_line_numbers() -> Iterator[None]:
    """Keep the paths of sources out of the code."""
    from triton import knobs

    with knobs.compilation.scope():
        knobs.compilation.disable_line_info = True
        yield


class _Store:
    """Writes cubins one after another and notes where each is."""

    def __init__(self, target: CudaTarget, release: str) -> None:
        self.data = bytearray()
        self._offsets: dict[bytes, int] = {}
        self._target = target
        self._release = release

    def kernel(self, kernel: GpuKernel) -> GpuKernelInfo:
        """The record of a kernel, its cubins stored."""
        steps = tuple(
            SlabsInfo(
                symbol=step.symbol,
                size=step.size,
                launches=tuple(self._launch(each, kernel, step.size) for each in step.launches),
            )
            if isinstance(step, Slabs)
            else self._launch(step, kernel, 0)
            for step in kernel.launches
        )
        parameters = tuple(
            ParameterInfo(name=each.name, dtype=ElementType(each.dtype), shape=each.shape)
            for each in kernel.parameters
        )
        return GpuKernelInfo(parameters=parameters, steps=steps)

    def _launch(self, launch: Launch, kernel: GpuKernel, slab: int) -> LaunchInfo:
        source = source_of(launch, kernel, slab)
        cubin = _cubins[(source.key, self._target, self._release)]
        given = [launch.arguments[name] for name in source.signature if name in launch.arguments]
        arguments = (_argument(each, multiple_of(each, kernel, slab)) for each in given)
        x, y, z = map(_grid, launch.grid)
        return LaunchInfo(
            entry=cubin.entry,
            offset=self._offset(cubin.code),
            size=len(cubin.code),
            threads=cubin.threads,
            shared_bytes=cubin.shared_bytes,
            registers=cubin.registers,
            spill_bytes=cubin.spill_bytes,
            tensor_columns=cubin.tensor_columns,
            warnings=cubin.warnings,
            grid=(x, y, z),
            arguments=(*arguments, *SCRATCH),
        )

    def _offset(self, code: bytes) -> int:
        if code not in self._offsets:
            self.data.extend(bytes(-len(self.data) % CUBIN_ALIGNMENT))
            self._offsets[code] = len(self.data)
            self.data.extend(code)
        return self._offsets[code]


def _grid(grid: Grid) -> GridInfo:
    return GridInfo(constant=grid.constant, terms=grid.terms)


def _argument(argument: Argument, divisible: int) -> ArgumentInfo:
    match argument:
        case Pointer():
            return ArgumentInfo(
                kind=ArgumentKind.POINTER,
                parameter=argument.parameter,
                byte_offset=argument.byte_offset,
                divisible=divisible,
            )
        case Extent():
            return ArgumentInfo(
                kind=ArgumentKind.EXTENT,
                parameter=argument.parameter,
                dim=argument.dim,
                divisible=divisible,
            )
        case SlabStart():
            return ArgumentInfo(kind=ArgumentKind.SLAB_START, divisible=divisible)
