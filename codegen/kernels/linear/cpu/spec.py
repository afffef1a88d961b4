"""What a linear kernel of a CPU is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import columns_of, rows_of, weight_shape
from sala_compile.sala_ir.dialect.linear import LinearOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Constants of one linear kernel.

    `depth` is K, `rows` the N of the weight (with SwiGLU: gate and up, interleaved), `weight` the
    element type of x and of the weight. A `residual_pitch` of 0 means that there is no residual.
    """

    depth: int
    rows: int
    weight: Element
    output: Element
    scale: float
    bias: bool
    swiglu: bool
    extent: str
    x_start: int
    x_pitch: int
    residual_start: int = 0
    residual_pitch: int = 0
    limit: float = 0.0
    """Of SwiGLU; 0: none."""

    @property
    def label(self) -> str:
        """The family, the sizes, the element, and what is fused, for names."""
        parts = [f"linear_{self.depth}x{self.rows}", self.weight]
        return "_".join([*parts, *self.fused])

    @property
    def fused(self) -> list[str]:
        """What is fused."""
        parts = ["bias"] * self.bias + ["swiglu"] * self.swiglu + ["limit"] * bool(self.limit)
        return parts + ["residual"] * bool(self.residual_pitch)

    @property
    def steps(self) -> int:
        """Steps of a dot product."""
        return -(-self.depth // self.weight.pack)

    @property
    def columns(self) -> int:
        """Columns that the kernel writes: all of the output's pitch."""
        return padded(self.rows // 2 if self.swiglu else self.rows)


def fields_of(op: LinearOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless types are those of a kernel."""
    if element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, weight {element(op.weight)}: they must be equal"
    refusal = refuse_unless_float32(bias=op.bias, residual=op.residual)
    if refusal:
        return refusal
    views = column_views(x=op.x)
    if op.residual is not None:
        views |= column_views(residual=op.residual)
    return {
        "depth": columns_of(op.x),
        "rows": weight_shape(op.weight)[0],
        "weight": element(op.weight),
        "output": element(op.result),
        "scale": op.scale.value.data,
        "bias": op.bias is not None,
        "swiglu": op.is_swiglu,
        "limit": op.limit.value.data,
        "extent": rows_of(op.x).value,
        **views,
    }


def arguments(spec: Spec, weight: Arguments, workspaces: Arguments) -> Arguments:
    """The arguments of a call: x and y have any number of rows."""
    pitch = spec.residual_pitch
    return (
        *batch("control"),
        activation("x", spec.weight, spec.x_pitch),
        *weight,
        given("bias", "f32", padded(spec.rows), when=spec.bias),
        activation("residual", "f32", pitch, when=bool(pitch)),
        result("y", spec.output, spec.columns),
        *workspaces,
    )
