"""A kernel bound to its buffers: launches with every argument known, for any size of a grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sala_compile.runtime.artifact import (
    ArgumentInfo,
    ArgumentKind,
    GpuKernelInfo,
    LaunchInfo,
    SlabsInfo,
)
from sala_compile.runtime.devices.cuda.transfer import DeviceBuffer
from sala_compile.runtime.errors import ArtifactError

Sizes = Mapping[str, int]
"""Sizes of a bucket by symbol: tokens, sequences, logit_rows."""


@dataclass(frozen=True, slots=True)
class BoundLaunch:
    """A launch with its grid and arguments: values, and whether they are addresses."""

    info: LaunchInfo
    grid: tuple[int, int, int]
    arguments: tuple[tuple[int, bool], ...]


class BoundKernel:
    """A kernel and the buffers that it is called with."""

    def __init__(
        self,
        symbol: str,
        kernel: GpuKernelInfo,
        names: Sequence[str],
        buffers: Sequence[DeviceBuffer],
    ) -> None:
        """ArtifactError if a buffer is not what the kernel was compiled for."""
        self._symbol = symbol
        self._kernel = kernel
        _check(symbol, kernel, names, buffers)
        parameters = (parameter.name for parameter in kernel.parameters)
        self._buffers = dict(zip(parameters, buffers, strict=True))
        for launch in kernel.launches():
            self._arguments(launch, 0)

    @property
    def symbols(self) -> frozenset[str]:
        """The sizes that its launches depend on."""
        grids = (axis for launch in self._kernel.launches() for axis in launch.grid)
        slabs = {step.symbol for step in self._kernel.steps if isinstance(step, SlabsInfo)}
        return frozenset(slabs | {term[0] for axis in grids for term in axis.terms})

    def launches(self, sizes: Sizes) -> Iterator[BoundLaunch]:
        """Every launch for a bucket, in order; none that has no programs."""
        for step in self._kernel.steps:
            if isinstance(step, LaunchInfo):
                yield from self._launch(step, sizes, 0)
                continue
            total = sizes[step.symbol]
            for start in range(0, total, step.size):
                inner = {**sizes, step.symbol: min(step.size, total - start)}
                for launch in step.launches:
                    yield from self._launch(launch, inner, start)

    def _launch(self, launch: LaunchInfo, sizes: Sizes, start: int) -> Iterator[BoundLaunch]:
        x, y, z = (axis.size(sizes) for axis in launch.grid)
        if x * y * z:
            yield BoundLaunch(launch, (x, y, z), self._arguments(launch, start))

    def _arguments(self, launch: LaunchInfo, start: int) -> tuple[tuple[int, bool], ...]:
        return tuple(self._argument(launch, argument, start) for argument in launch.arguments)

    def _argument(self, launch: LaunchInfo, argument: ArgumentInfo, start: int) -> tuple[int, bool]:
        buffer = self._buffers.get(argument.parameter or "")
        match argument.kind:
            case ArgumentKind.NULL:
                return 0, True
            case ArgumentKind.SLAB_START:
                value = start
            case ArgumentKind.POINTER:
                assert buffer is not None, "checked with the library"
                value = buffer.address + argument.byte_offset
            case ArgumentKind.EXTENT:
                assert buffer is not None, "checked with the library"
                value = buffer.shape[argument.dim]
        if value % argument.divisible:
            raise ArtifactError(
                f"{launch.entry} is given {value}",
                where=f"kernel {self._symbol}, {argument.kind.value} {argument.parameter or ''}",
                expected=f"a multiple of {argument.divisible}, for which it was compiled",
                fix="compile again",
            )
        return value, argument.kind is ArgumentKind.POINTER


def _check(
    symbol: str, kernel: GpuKernelInfo, names: Sequence[str], buffers: Sequence[DeviceBuffer]
) -> None:
    if len(names) != len(kernel.parameters):
        raise ArtifactError(
            f"the kernel {symbol} is called with {len(names)} values",
            where="program.json",
            expected=f"{len(kernel.parameters)}",
            fix="compile again",
        )
    capacities: dict[str, int] = {}
    for parameter, name, buffer in zip(kernel.parameters, names, buffers, strict=True):
        expected = tuple(
            capacities.setdefault(dim, size) if isinstance(dim, str) else dim
            for dim, size in zip(parameter.shape, buffer.shape, strict=False)
        )
        fits = len(parameter.shape) == len(buffer.shape) and expected == buffer.shape
        if not fits or parameter.dtype.itemsize != buffer.dtype.itemsize:
            raise ArtifactError(
                f"{name} is {buffer.dtype}{list(buffer.shape)}",
                where=f"kernel {symbol}, parameter {parameter.name}",
                expected=f"{parameter.dtype.value}{list(parameter.shape)}",
                fix="compile again",
            )
