"""What a kernel that joins streams is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.attributes import Rows
from sala_compile.sala_ir.dialect.base import columns_of, rows_of
from sala_compile.sala_ir.dialect.streams import JoinStreamsOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Streams of `columns` each; x and shares are views of columns, a mean has no shares.

    The live count `extent` gives the rows.
    """

    streams: int
    columns: int
    shared: bool
    x_start: int
    x_pitch: int
    shares_start: int
    shares_pitch: int
    out_element: Element
    extent: str = Rows.TOKENS.value

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"join_streams_{self.streams}x{self.columns}" + "_shares" * self.shared


def describe(op: JoinStreamsOp, target: object) -> Spec | str:
    """Take streams and shares of float32."""
    refusal = refuse_unless_float32(x=op.x, shares=op.shares)
    if refusal:
        return refusal
    shares = {"shares_start": 0, "shares_pitch": 0}
    if op.shares is not None:
        shares = column_views(shares=op.shares)
    return Spec(
        streams=op.streams.value.data,
        columns=columns_of(op.result),
        shared=op.shares is not None,
        out_element=element(op.result),
        extent=rows_of(op.x).value,
        **column_views(x=op.x),
        **shares,
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("x", "f32", spec.x_pitch),
        activation("shares", "f32", spec.shares_pitch, when=spec.shared),
        result("result", spec.out_element, padded(spec.columns)),
    )
