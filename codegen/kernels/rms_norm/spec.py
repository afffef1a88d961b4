"""What an RMS norm kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.norm import RmsNormOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one RMS norm; `gather` takes input row rows[i] for output row i.

    A `gate_pitch` of 0 means that there is no gate. Group i has the weights i % `weights`.
    """

    columns: int
    group: int
    eps: float
    gather: bool
    x_start: int
    x_pitch: int
    x: Element
    output: Element
    gate: Element = Element.F32
    gate_start: int = 0
    gate_pitch: int = 0
    weights: int = 1

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        heads = "" if self.group == self.columns else f"_by{self.group}"
        heads += f"x{self.weights}" if self.weights > 1 else ""
        options = "_rows" * self.gather + "_gate" * bool(self.gate_pitch)
        return f"rms_norm_{self.columns}{heads}_{self.output}{options}"


def describe(op: RmsNormOp, target: object) -> Spec | str:
    """Take every norm whose weight is float32."""
    refusal = refuse_unless_float32(weight=op.weight)
    if refusal:
        return refusal
    views = column_views(x=op.x)
    if op.gate is not None:
        views |= column_views(gate=op.gate) | {"gate": element(op.gate)}
    return Spec(
        columns=columns_of(op.x),
        group=op.group,
        eps=op.eps.value.data,
        gather=op.rows is not None,
        x=element(op.x),
        output=element(op.result),
        weights=op.groups.value.data,
        **views,
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("x", spec.x, spec.x_pitch),
        given("weight", "f32", padded(spec.group * spec.weights)),
        given("rows", "i32", "row_count", when=spec.gather),
        activation("gate", spec.gate, spec.gate_pitch, when=bool(spec.gate_pitch)),
        result("y", spec.output, padded(spec.columns)),
    )
