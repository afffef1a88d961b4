"""Buffers of a GPU kernel: the parameter of the call and the pointer of the launch in one."""

from collections.abc import Iterable
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.kernel import Parameter, Pointer

LIVE_WORD = {"tokens": 0, "sequences": 1, "logit_rows": 2}
"""Where in `control` a live size stands."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A parameter of a kernel with the type that a Triton function sees behind its pointer."""

    name: str
    dtype: str
    pointee: str
    shape: tuple[int | str, ...]

    @property
    def parameter(self) -> Parameter:
        """The parameter of the kernel."""
        return Parameter(self.name, self.dtype, self.shape)

    def pointer(self, byte_offset: int = 0) -> Pointer:
        """The argument of a launch, from a byte of the buffer on."""
        return Pointer(self.name, self.pointee, byte_offset)


CONTROL = Buffer("control", "int32", "i32", (16,))


def values(name: str, element: Element, *shape: int | str) -> Buffer:
    """Floating-point values; bf16 as 16-bit words."""
    return Buffer(name, element.dtype, pointee(element), shape)


def integers(name: str, *shape: int | str) -> Buffer:
    """32-bit integers."""
    return Buffer(name, "int32", "i32", shape)


def pointee(element: Element) -> str:
    """The element type as Triton spells it."""
    return "bf16" if element is Element.BF16 else "fp32"


def pointers(buffers: Iterable[Buffer | None], *absent: str) -> dict[str, Pointer]:
    """Arguments by name; those of absent buffers point to `control` and are never followed."""
    present = {buffer.name: buffer.pointer() for buffer in buffers if buffer is not None}
    return present | {name: CONTROL.pointer() for name in absent if name not in present}


def parameters(buffers: Iterable[Buffer | None]) -> tuple[Parameter, ...]:
    """The parameters of the buffers that are there, in order."""
    return tuple(buffer.parameter for buffer in buffers if buffer is not None)
