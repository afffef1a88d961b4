"""`lib/cuda-*.json`: the kernels of a GPU library, each a list of launches of cubins."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from sala_compile.runtime.artifact.contract import Contract
from sala_compile.runtime.artifact.format_model import ElementType, Frozen

CUBIN_ALIGNMENT = 16
"""Bytes to which every cubin is aligned in its file."""


class ArgumentKind(StrEnum):
    """Where an argument of a launch comes from."""

    POINTER = "pointer"
    """Address of a parameter's buffer plus `byte_offset`, 8 bytes."""
    EXTENT = "extent"
    """Dimension `dim` of a parameter's buffer, int32."""
    SLAB_START = "slab_start"
    """First index of the slab, int32."""
    NULL = "null"
    """A null pointer: scratch that the code does not use."""


class ArgumentInfo(Frozen):
    """An argument, in the order of the code's ABI.

    The code was compiled for values that are multiples of `divisible`: any
    other one would read wrong memory, so it is checked when buffers are bound.
    """

    kind: ArgumentKind
    parameter: str | None = None
    dim: NonNegativeInt = 0
    byte_offset: NonNegativeInt = 0
    divisible: PositiveInt = 1


class GridInfo(Frozen):
    """Programs along one axis: `constant` + the sum of times * ceil(size of symbol / tile).

    `terms` are (symbol, tile, times); symbols are `tokens`, `sequences` and `logit_rows`.
    """

    constant: NonNegativeInt = 0
    terms: tuple[tuple[str, PositiveInt, PositiveInt], ...] = ()

    def size(self, sizes: Mapping[str, int]) -> int:
        """The number of programs for the given sizes."""
        counts = (times * -(-sizes[symbol] // tile) for symbol, tile, times in self.terms)
        return self.constant + sum(counts)


class LaunchInfo(Frozen):
    """One launch: the entry of the cubin at `offset`, `size` bytes long, of the cubins' file.

    A block has `threads` threads and `shared_bytes` of dynamic shared memory. Registers of a
    thread, bytes that it spills, columns of tensor memory of a block and what the assembler warned
    of are for people.
    """

    entry: str
    offset: NonNegativeInt
    size: PositiveInt
    threads: PositiveInt
    shared_bytes: NonNegativeInt
    registers: NonNegativeInt
    spill_bytes: NonNegativeInt
    tensor_columns: NonNegativeInt = 0
    warnings: tuple[str, ...] = ()
    grid: tuple[GridInfo, GridInfo, GridInfo]
    arguments: tuple[ArgumentInfo, ...]


class SlabsInfo(Frozen):
    """Launches repeated for slabs of `size` of a symbol.

    In their grids the symbol means min(size, what is left).
    """

    symbol: str
    size: PositiveInt
    launches: tuple[LaunchInfo, ...]


class ParameterInfo(Frozen):
    """A buffer that a kernel is called with; a dimension that is a string is a capacity."""

    name: str
    dtype: ElementType
    shape: tuple[int | str, ...]


class GpuKernelInfo(Frozen):
    """What a step of the program calls: launches in order, on one stream."""

    parameters: tuple[ParameterInfo, ...]
    steps: tuple[LaunchInfo | SlabsInfo, ...]

    def launches(self) -> Iterator[LaunchInfo]:
        """Every launch once, those of slabs too."""
        for step in self.steps:
            yield from step.launches if isinstance(step, SlabsInfo) else (step,)

    @model_validator(mode="after")
    def _arguments_resolve(self) -> "GpuKernelInfo":
        ranks = {parameter.name: len(parameter.shape) for parameter in self.parameters}
        for launch in self.launches():
            for argument in launch.arguments:
                _check_argument(argument, ranks)
        return self


def _check_argument(argument: ArgumentInfo, ranks: Mapping[str, int]) -> None:
    if argument.kind in (ArgumentKind.SLAB_START, ArgumentKind.NULL):
        return
    if argument.parameter not in ranks:
        raise ValueError(f"an argument names the unknown parameter {argument.parameter}")
    if argument.kind is ArgumentKind.EXTENT and argument.dim >= ranks[str(argument.parameter)]:
        raise ValueError(f"{argument.parameter} has no dimension {argument.dim}")


class GpuLibrary(Frozen):
    """All kernels of a target, by symbol; `cubins` is the path of their file in the artifact.

    `toolkit` is the release of the assembler that wrote the cubins, `driver` the oldest CUDA
    version (13000 is 13.0) that a driver has to support to load them.
    """

    architecture: str = Field(pattern=r"^sm_\d+$")
    driver: PositiveInt
    toolkit: str = Field(pattern=r"^\d+\.\d+$")
    cubins: str
    kernels: dict[str, GpuKernelInfo]
    contract: Contract | None = None

    @model_validator(mode="after")
    def _cubins_are_aligned(self) -> "GpuLibrary":
        for symbol, kernel in self.kernels.items():
            if any(launch.offset % CUBIN_ALIGNMENT for launch in kernel.launches()):
                raise ValueError(f"a cubin of {symbol} is not aligned")
        return self
