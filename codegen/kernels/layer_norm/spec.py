"""What a layer norm kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.norm import LayerNormOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one layer norm: x is columns from `x_start` of rows `x_pitch` elements apart."""

    columns: int
    eps: float
    x_start: int
    x_pitch: int
    x: Element
    output: Element

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"layer_norm_{self.columns}_{self.output}"


def describe(op: LayerNormOp, target: object) -> Spec | str:
    """Take every norm whose weight and bias are float32."""
    refusal = refuse_unless_float32(weight=op.weight, bias=op.bias)
    if refusal:
        return refusal
    return Spec(
        columns=columns_of(op.x),
        eps=op.eps.value.data,
        x=element(op.x),
        output=element(op.result),
        **column_views(x=op.x),
    )


def arguments(spec: Spec, schedule: object = None) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control"),
        activation("x", spec.x, spec.x_pitch),
        given("weight", "f32", padded(spec.columns)),
        given("bias", "f32", padded(spec.columns)),
        result("y", spec.output, padded(spec.columns)),
    )
