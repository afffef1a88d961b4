"""What a cast kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, result
from sala_compile.codegen.kernels.operands import column_views, element
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.base import columns_of, rows_of
from sala_compile.sala_ir.dialect.elementwise import CastOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Columns from `x_start` on of rows `x_pitch` elements apart, as many as the live `extent`."""

    columns: int
    x_start: int
    x_pitch: int
    x: Element
    output: Element
    extent: str = Rows.TOKENS.value

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"cast_{self.columns}_{self.x}_{self.output}"


def describe(op: CastOp, target: object) -> Spec | str:
    """Take every cast."""
    return Spec(
        columns=columns_of(op.x),
        x=element(op.x),
        output=element(op.result),
        extent=rows_of(op.x).value,
        **column_views(x=op.x),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("x", spec.x, spec.x_pitch),
        result("y", spec.output, padded(spec.columns)),
    )
