"""A GPU kernel: its parameters, and the launches of Triton functions that it consists of.

No size but capacities is known when a kernel is bound to its buffers: live sizes are read from the
control tensor on the device, and grids cover a bucket that is at least as large. A program beyond
the live size returns without touching anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sala_compile.passes.support.kernel_choice import SpecValue

Constant = SpecValue | tuple[Any, ...]
"""Value of a `tl.constexpr` parameter, or a NamedTuple of several."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A buffer that the kernel is called with; `dtype` is its element type, as in a program.

    A dimension that is a string is a capacity known at load; equal strings are equal sizes.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Pointer:
    """Argument of a Triton function: the buffer of a parameter.

    `element` is the pointee in Triton's spelling: fp32, bf16, fp16, i32, u8, ...
    """

    parameter: str
    element: str
    byte_offset: int = 0


@dataclass(frozen=True, slots=True)
class Extent:
    """Argument of a Triton function, i32: a dimension of a parameter's buffer, known at load.

    A capacity is promised to be a multiple of `multiple`, which the loader checks.
    """

    parameter: str
    dim: int
    multiple: int = 1


@dataclass(frozen=True, slots=True)
class SlabStart:
    """Argument of a Triton function, i32: the first index of the slab that is worked on."""


Argument = Pointer | Extent | SlabStart


@dataclass(frozen=True, slots=True)
class Grid:
    """Programs along one axis: `constant` + the sum of times * ceil(size of symbol / tile).

    `terms` are (symbol, tile, times).
    """

    constant: int = 0
    terms: tuple[tuple[str, int, int], ...] = ()

    def size(self, sizes: Mapping[str, int]) -> int:
        """The number of programs for the given sizes."""
        counts = (times * -(-sizes[symbol] // tile) for symbol, tile, times in self.terms)
        return self.constant + sum(counts)


ONE = Grid(1)
"""An axis that is not used."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a `@triton.jit` function of a module, arguments by the function's names.

    `fusion` lets a multiplication and an addition become one instruction that rounds once.
    """

    function: Any
    grid: tuple[Grid, Grid, Grid]
    arguments: Mapping[str, Argument]
    constants: Mapping[str, Constant]
    warps: int = 4
    stages: int = 2
    fusion: bool = True

    def __post_init__(self) -> None:
        """Raise TypeError unless every parameter of the function is given once."""
        given = [*self.arguments, *self.constants]
        if sorted(given) != sorted(self.function.arg_names):
            expected = ", ".join(self.function.arg_names)
            raise TypeError(f"the function takes ({expected}), not ({', '.join(given)})")

    @property
    def named_constants(self) -> dict[str, Constant]:
        """Every constant by its name, in a NamedTuple too."""
        found: dict[str, Constant] = {}
        for name, value in self.constants.items():
            found |= value._asdict() if hasattr(value, "_asdict") else {name: value}  # type: ignore
        return found


@dataclass(frozen=True, slots=True)
class Slabs:
    """Launches repeated for slabs of `size` of a symbol, so that a workspace holds one slab.

    In their grids the symbol means min(size, what is left).
    """

    symbol: str
    size: int
    launches: tuple[Launch, ...]


@dataclass(frozen=True, slots=True)
class GpuKernel:
    """What a step calls: launches in order, on one stream."""

    symbol: str
    parameters: tuple[Parameter, ...]
    launches: tuple[Launch | Slabs, ...]

    def each_launch(self) -> Iterator[Launch]:
        """Every launch once, those of slabs too."""
        for step in self.launches:
            yield from step.launches if isinstance(step, Slabs) else (step,)

    def parameter(self, name: str) -> Parameter:
        """The parameter with this name."""
        return next(each for each in self.parameters if each.name == name)
