"""Launches of Triton functions whose parameters have the names of arguments and constants."""

from collections.abc import Iterator, Mapping
from inspect import get_annotations
from typing import Any

from sala_compile.codegen.kernels.arguments import Argument, Arguments
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.triton.kernel import Argument as LaunchArgument
from sala_compile.codegen.kernels.triton.kernel import (
    Constant,
    Extent,
    Grid,
    Launch,
    Pointer,
)

POINTEES = {"bf16": "bf16", "f16": "fp16", "f32": "fp32", "i32": "i32", "u8": "u8", "i8": "i8"}
"""Element -> how Triton spells it."""
LIVE_WORD = {"tokens": 0, "sequences": 1, "logit_rows": 2}
"""The place of a live size in `control`."""
TABLE_COLUMNS = {"page_table": "table_columns", "compressed_table": "compressed_columns"}
"""What functions call the columns of a page table."""


def launch(
    function: Any,
    grid: tuple[Grid, Grid, Grid],
    arguments: Arguments,
    constants: Mapping[str, Constant],
    others: Mapping[str, LaunchArgument] | None = None,
    *,
    warps: int = 4,
    stages: int = 2,
    fusion: bool = True,
) -> Launch:
    """A launch of a function, which takes those of the arguments and constants that it names.

    A parameter whose type is a NamedTuple takes the constants that have the names of its fields.
    `others` are arguments that are no whole buffer, or that have another name.
    """
    known = {name: value for each in arguments for name, value in _of(each)} | dict(others or {})
    names = function.arg_names
    return Launch(
        function,
        grid,
        {name: known[name] for name in names if name in known},
        {name: constants[name] for name in names if name in constants}
        | _grouped(function, constants),
        warps,
        stages,
        fusion,
    )


def _grouped(function: Any, constants: Mapping[str, Constant]) -> dict[str, Constant]:
    types = get_annotations(function.fn).items()
    return {
        name: kind(*(constants[field] for field in kind._fields))
        for name, kind in types
        if hasattr(kind, "_fields")
    }


def constants_of(spec: KernelSpec, **more: Constant) -> dict[str, Constant]:
    """The fields of a spec as constants, names in capitals, and what `more` adds or replaces."""
    return {name.upper(): value for name, value in spec.values.items()} | more


def _of(argument: Argument) -> Iterator[tuple[str, LaunchArgument]]:
    yield argument.name, pointer(argument)
    if argument.name in TABLE_COLUMNS:
        yield TABLE_COLUMNS[argument.name], Extent(argument.name, 1)


def pointer(argument: Argument, byte_offset: int = 0, element: str = "") -> Pointer:
    """A buffer from a byte on; one that is absent is never followed: `control` instead."""
    pointee = POINTEES[element or argument.element]
    if not argument.present:
        return Pointer("control", pointee)
    return Pointer(argument.name, pointee, byte_offset)
