"""The arguments of a kernel, declared once, in the order of its calls.

From a declaration follow what a rule says of a call, the parameters of the TIR function and of the
GPU kernel, the pointers of launches, and the check of the program against the kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from sala_compile.passes.support.kernel_choice import Workspace
from sala_compile.runtime.artifact.batch_fields import INPUT_SHAPES, InputName

DTYPES = {
    **{"bf16": "uint16", "f16": "uint16", "f32": "float32"},
    **{"i32": "int32", "i8": "int8", "u8": "uint8", "u16": "uint16"},
}
"""Element -> type in the calling convention, in which floats of 16 bits travel as their bits."""


class Role(StrEnum):
    """What an argument is to the operation that a kernel computes."""

    CONTROL = "control"
    BATCH = "batch"
    INPUT = "in"
    STATE = "state"
    """An operand that the kernel writes, too."""
    OUTPUT = "out"
    WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument; a dimension that is a string is a capacity known at load.

    `element` is a key of `DTYPES`. Inputs and states are `part` of an `operand` of the operation,
    outputs its result number `result`. One that is not `present` is an argument that only other
    specs of the family have.
    """

    name: str
    role: Role
    element: str
    shape: tuple[int | str, ...]
    present: bool = True
    operand: str = ""
    part: str = ""
    result: int = 0
    workspace: Workspace | None = None

    @property
    def dtype(self) -> str:
        """The element type in the calling convention."""
        return DTYPES[self.element]

    @property
    def bytes(self) -> int:
        """Size of one element."""
        return np.dtype(self.dtype).itemsize


Arguments = tuple[Argument, ...]


def batch(*names: str, when: bool = True) -> Arguments:
    """`control`, fields of the batch and tables of pages, all int32."""
    return tuple(_field(name, when) for name in names)


def _field(name: str, when: bool) -> Argument:
    if name.endswith("_table"):
        table = (f"{name}_rows", f"{name}_columns")
        return Argument(name, Role.BATCH, "i32", table, when)
    field = InputName(name)
    role = Role.CONTROL if field is InputName.CONTROL else Role.BATCH
    shape = tuple(
        dim if isinstance(dim, int) else f"{name}_extent_{axis}"
        for axis, dim in enumerate(INPUT_SHAPES[field])
    )
    return Argument(name, role, "i32", shape, when)


def given(
    name: str,
    element: str,
    *shape: int | str,
    operand: str = "",
    part: str = "",
    when: bool = True,
) -> Argument:
    """An input, of the operand with its name if none is given."""
    return Argument(name, Role.INPUT, element, shape, when, operand or name, part)


def activation(
    name: str, element: str, pitch: int, *, operand: str = "", when: bool = True
) -> Argument:
    """An input of any number of rows, `pitch` elements apart."""
    return given(name, element, f"{name}_rows", pitch, operand=operand, when=when)


def state(name: str, element: str, *shape: int | str, operand: str, part: str = "") -> Argument:
    """A pool of state that the kernel writes."""
    return Argument(name, Role.STATE, element, shape, True, operand, part)


def result(
    name: str,
    element: str,
    *shape: int | str,
    number: int = 0,
    when: bool = True,
) -> Argument:
    """Result `number` of the operation: any number of rows of a shape."""
    place = (f"{name}_rows", *shape)
    return Argument(name, Role.OUTPUT, element, place, when, result=number)


def workspace(
    name: str,
    element: str,
    elements: int,
    *,
    per_page: int = 0,
    per_token: int = 0,
    per_sequence: int = 0,
    when: bool = True,
) -> Argument:
    """Scratch memory, a row for each worker: `elements`, and what grows with sizes of a step."""
    grows = per_page or per_token or per_sequence
    shape = ("workers", f"{name}_columns" if grows else elements)
    space = Workspace(name, DTYPES[element], elements, per_page, per_token, per_sequence)
    return Argument(name, Role.WORKSPACE, element, shape, when, workspace=space)


def present(arguments: Arguments) -> Arguments:
    """The arguments that a call passes."""
    return tuple(argument for argument in arguments if argument.present)


def operands_of(arguments: Arguments) -> tuple[str, ...]:
    """The operands that a call passes, in order."""
    return tuple(dict.fromkeys(each.operand for each in present(arguments) if each.operand))


def workspaces_of(arguments: Arguments) -> tuple[Workspace, ...]:
    """The scratch memory that a call needs."""
    spaces = (each.workspace for each in present(arguments))
    return tuple(space for space in spaces if space is not None)


def call_of(arguments: Arguments) -> tuple[str, ...]:
    """The arguments as `KernelChoice.arguments` names them."""
    return tuple(_texts(present(arguments)))


def _texts(arguments: Arguments) -> Iterator[str]:
    operands, spaces = operands_of(arguments), 0
    for each in arguments:
        match each.role:
            case Role.CONTROL:
                yield "control"
            case Role.BATCH:
                yield f"batch:{each.name}"
            case Role.INPUT | Role.STATE:
                suffix = f".{each.part}" if each.part else ""
                yield f"in:{operands.index(each.operand)}{suffix}"
            case Role.OUTPUT:
                yield f"out:{each.result}"
            case Role.WORKSPACE:
                yield f"workspace:{spaces}"
                spaces += 1
