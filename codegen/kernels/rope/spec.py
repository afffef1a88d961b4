"""What a rotation is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.rope import RopeOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one rotation; `rotated` dimensions of a head are rotated, the others copied.

    They are those from `first` on; `interleaved`: the pairs are neighbours. With `norm`, every head
    is normalised first; `eps` is 0 without.
    """

    columns: int
    head_dim: int
    rotated: int
    x_start: int
    x_pitch: int
    x: Element
    output: Element
    norm: bool = False
    eps: float = 0.0
    first: int = 0
    interleaved: bool = False

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"rope_{self.columns // self.head_dim}x{self.head_dim}" + "_norm" * self.norm


def describe(op: RopeOp, target: object) -> Spec | str:
    """Take every rotation by a float32 table that is a buffer of its own."""
    refusal = refuse_unless_float32(table=op.table, norm=op.norm)
    if refusal:
        return refusal
    rotated = columns_of(op.table)
    if column_views(table=op.table) != {"table_start": 0, "table_pitch": padded(rotated)}:
        return "the table is a view of other columns"
    return Spec(
        columns=columns_of(op.x),
        head_dim=op.head_dim.value.data,
        rotated=rotated,
        x=element(op.x),
        output=element(op.result),
        norm=op.norm is not None,
        eps=0.0 if op.eps is None else op.eps.value.data,
        first=op.start.value.data,
        interleaved=op.interleaved.value.data == 1,
        **column_views(x=op.x),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("x", spec.x, spec.x_pitch),
        activation("table", "f32", padded(spec.rotated)),
        given("norm", "f32", padded(spec.head_dim), when=spec.norm),
        result("y", spec.output, padded(spec.columns)),
    )
