"""What a short convolution kernel is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    state,
)
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of, weight_shape
from sala_compile.sala_ir.dialect.recurrence import ShortConvolutionOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Columns, and taps that are `dilation` tokens apart.

    x is columns from `x_start` on of rows `x_pitch` floats apart.
    """

    columns: int
    taps: int
    bias: bool
    x_start: int
    x_pitch: int
    out_element: Element
    dilation: int = 1

    @property
    def kept(self) -> int:
        """Tokens whose inputs are kept."""
        return self.dilation * (self.taps - 1)

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        options = f"x{self.dilation}" * (self.dilation > 1) + "_bias" * self.bias
        return f"short_convolution_{self.columns}_t{self.taps}{options}"


def fields_of(op: ShortConvolutionOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless all is float32, the window too."""
    refusal = refuse_unless_float32(x=op.x, window=op.window, weight=op.weight, bias=op.bias)
    if refusal:
        return refusal
    return {
        "columns": columns_of(op.x),
        "taps": weight_shape(op.weight)[0],
        "bias": op.bias is not None,
        "out_element": element(op.out),
        "dilation": op.dilation.value.data,
        **column_views(x=op.x),
    }


def describe(op: ShortConvolutionOp, target: object) -> Spec | str:
    """Take every op whose input, window and weights are float32."""
    fields = fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def arguments(spec: Spec, schedule: object) -> Arguments:
    """The arguments of a call."""
    columns = padded(spec.columns)
    return (
        *batch("control", "offsets", "history", "slots", "checkpoints"),
        activation("x", "f32", spec.x_pitch),
        state("window", "f32", "window_slots", spec.kept, spec.columns, operand="window"),
        given("weight", "f32", spec.taps, columns),
        given("bias", "f32", columns, when=spec.bias),
        result("out", spec.out_element, columns),
    )
