"""What the rules of the kernels read from the operands of an operation."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from xdsl.dialects.builtin import BFloat16Type, Float32Type
from xdsl.ir import SSAValue

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.passes.support.kernel_choice import SpecValue, base_and_start
from sala_compile.sala_ir.dialect.base import columns_of, element_of


def column_views(**operands: SSAValue) -> dict[str, Any]:
    """Where operands are in the buffers of their bases (slices are views).

    For each operand x: `x_start`, its first column, and `x_pitch`, elements from row to row.
    """
    views: dict[str, Any] = {}
    for name, value in operands.items():
        base, start = base_and_start(value)
        views |= {f"{name}_start": start, f"{name}_pitch": padded(columns_of(base))}
    return views


def element(value: SSAValue) -> Element:
    """The element type of an activation, pool or weight."""
    return Element.BF16 if isinstance(element_of(value), BFloat16Type) else Element.F32


def refuse_unless_float32(**operands: SSAValue | None) -> str | None:
    """The reason why a kernel refuses, where an operand is not float32."""
    for name, value in operands.items():
        if value is not None and not isinstance(element_of(value), Float32Type):
            return f"{name} must be f32, not {element_of(value)}"
    return None


def indices_of(operands: Sequence[SSAValue], *wanted: SSAValue | None) -> tuple[int, ...]:
    """The positions of the wanted values (None: absent) among the operands of an operation."""
    return tuple(list(operands).index(value) for value in wanted if value is not None)


def spec_values(spec: Any) -> dict[str, SpecValue]:
    """The fields of a spec (a dataclass), by name."""
    values = asdict(spec).items()
    return {name: value.value if isinstance(value, Enum) else value for name, value in values}


def symbol_of(family: str, readable: str, spec: Any) -> str:
    """A name that is unique for the spec: family, main sizes, and a digest of all fields."""
    digest = hashlib.blake2b(
        repr(sorted(spec_values(spec).items())).encode(), digest_size=4
    ).hexdigest()
    return f"{family}_{readable}_{digest}"
