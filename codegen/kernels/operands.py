"""The facts that the rules of the kernels read from the operands of an operation."""

from typing import Any

from xdsl.dialects.builtin import BFloat16Type, Float32Type
from xdsl.ir import SSAValue

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.passes.support.kernel_choice import base_and_start
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
    """The reason why a kernel refuses if an operand is not float32."""
    for name, value in operands.items():
        if value is not None and not isinstance(element_of(value), Float32Type):
            return f"{name} must be f32, not {element_of(value)}"
    return None
