"""What an element-wise kernel is compiled for, and what it is called with."""

from dataclasses import dataclass
from enum import StrEnum

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, result
from sala_compile.codegen.kernels.operands import column_views, element
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets import Target
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.base import columns_of, rows_of
from sala_compile.sala_ir.dialect.elementwise import (
    OutputGateOp,
    ResidualAddOp,
    SigmoidOp,
    SiluOp,
    SquaredReluOp,
    SwigluOp,
)


class Function(StrEnum):
    """What is computed from the operands a and b."""

    OUTPUT_GATE = "output_gate"
    SWIGLU = "swiglu"
    RESIDUAL_ADD = "residual_add"
    SILU = "silu"
    """Of a alone, as the next."""
    SQUARED_RELU = "squared_relu"
    SIGMOID = "sigmoid"


OPERANDS = {
    Function.OUTPUT_GATE: ("x", "gate"),
    Function.SWIGLU: ("gate", "up"),
    Function.RESIDUAL_ADD: ("h", "x"),
    Function.SILU: ("x",),
    Function.SQUARED_RELU: ("x",),
    Function.SIGMOID: ("x",),
}
"""What a and b are in each operation."""


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one element-wise kernel of two operands; `scale` is of two functions."""

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
    run: int = 1
    """Neighbours of a that one value of b is for."""
    extent: str = Rows.TOKENS.value
    """The live count that gives the rows."""
    limit: float = 0.0
    """Of SwiGLU; 0: none."""

    @property
    def label(self) -> str:
        """The function and the main sizes, for names."""
        runs = f"_by{self.run}" if self.run > 1 else ""
        limit = "_limit" * bool(self.limit)
        return f"{self.function}_{self.columns}{runs}{limit}_{self.output}"


Elementwise = OutputGateOp | SwigluOp | ResidualAddOp | SigmoidOp | SiluOp | SquaredReluOp


def describe(op: Elementwise, target: Target) -> Spec | str:
    """Take every element-wise operation; on GPUs those of two operands of as many columns."""
    a, *rest = op.operands
    b = rest[0] if rest else a
    run = columns_of(a) // columns_of(b)
    limit = op.parameters.get("limit", 0.0)
    if target.kind != "cpu" and limit:
        return "SwiGLU with a limit has no kernel on GPUs"
    if target.kind != "cpu" and (run > 1 or not rest):
        found = "a gate for several columns" if rest else "a function of one operand"
        return f"{found} has no kernel on GPUs"
    if target.kind != "cpu" and rows_of(a) is not Rows.TOKENS:
        return "rows of the logits have no kernel on GPUs"
    return Spec(
        function=Function(op.name.removeprefix("sala.")),
        columns=columns_of(a),
        scale=op.parameters.get("scale", 1.0),
        a=element(a),
        b=element(b),
        output=element(op.result),
        run=run,
        extent=rows_of(a).value,
        limit=limit,
        **column_views(a=a, b=b),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    a, *rest = OPERANDS[spec.function]
    b = rest[0] if rest else a
    return (
        *batch("control"),
        activation("a", spec.a, spec.a_pitch, operand=a),
        activation("b", spec.b, spec.b_pitch, operand=b, when=bool(rest)),
        result("y", spec.output, padded(spec.columns)),
    )
