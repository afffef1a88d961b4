"""Gate, SwiGLU and residual sum as kernels of their own, on the CPU."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sala_compile.codegen.kernels.operands import column_views, element, spec_values, symbol_of
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, kernel, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.elementwise import OutputGateOp, ResidualAddOp, SwigluOp


class Function(StrEnum):
    """What is computed from the operands a and b."""

    OUTPUT_GATE = "output_gate"
    SWIGLU = "swiglu"
    RESIDUAL_ADD = "residual_add"


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one element-wise kernel of two operands; `scale` belongs to residual_add."""

    function: Function
    columns: int
    scale: float
    a_start: int
    a_pitch: int
    b_start: int
    b_pitch: int
    a: Element
    b: Element
    output: Element

    def __post_init__(self) -> None:
        """Accept enums by value, as a saved spec has them."""
        object.__setattr__(self, "function", Function(self.function))
        for name in ("a", "b", "output"):
            object.__setattr__(self, name, Element(getattr(self, name)))

    @property
    def symbol(self) -> str:
        """A unique name."""
        return symbol_of(self.function, f"{self.columns}_{self.output}", self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose: bound by memory."""


def rule(op: OutputGateOp | SwigluOp | ResidualAddOp, target: CpuTarget) -> KernelChoice | str:
    """Take every element-wise operation of two operands."""
    a, b = op.operands
    spec = Spec(
        function=Function(op.name.removeprefix("sala.")),
        columns=columns_of(a),
        scale=op.parameters.get("scale", 1.0),
        a=element(a),
        b=element(b),
        output=element(op.result),
        **column_views(a=a, b=b),
    )
    return KernelChoice(
        symbol=spec.symbol,
        family="elementwise",
        spec=spec_values(spec),
        operands=(0, 1),
        arguments=("control", "in:0", "in:1", "out:0"),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, a, b, y); the memory of y may be that of an operand."""
    with kernel(spec.symbol, target, noalias=False) as builder:
        control = builder.control()
        a = builder.tensor("a", ("a_rows", spec.a_pitch), spec.a.dtype)
        b = builder.tensor("b", ("b_rows", spec.b_pitch), spec.b.dtype)
        y = builder.tensor("y", ("y_rows", padded(spec.columns)), spec.output.dtype)

        def body(row: Expr) -> None:
            def write(column: Expr, count: int) -> None:
                left = spec.a.load(a, row, column + spec.a_start, count=count)
                right = spec.b.load(b, row, column + spec.b_start, count=count)
                value = _value(spec, left, right)
                spec.output.store(y, row, column, value=value, count=count)

            for_vectors(spec.columns, write)
            clear_padding(spec.output, y, row, spec.columns)

        for_rows(builder, control, control.tokens, spec.columns, body)
    return builder.function


def _value(spec: Spec, a: Expr, b: Expr) -> Expr:
    match spec.function:
        case Function.OUTPUT_GATE:
            return a * vector.sigmoid(b)
        case Function.SWIGLU:
            return vector.silu(a) * b
        case Function.RESIDUAL_ADD:
            return vector.fma(b, splat(spec.scale), a)
