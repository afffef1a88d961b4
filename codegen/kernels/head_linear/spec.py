"""What a head_linear kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, activation, batch, given, result
from sala_compile.codegen.kernels.operands import column_views, element
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.base import encoding_of, weight_shape
from sala_compile.sala_ir.dialect.latent import HeadLinearOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Sizes of a head: `input_dim` columns of x, every `head_pitch` columns, give `output_dim`.

    x is columns from `x_start` on of rows `x_pitch` elements apart.
    """

    num_heads: int
    input_dim: int
    output_dim: int
    head_pitch: int
    x_start: int
    x_pitch: int
    x: Element
    weight: Element
    output: Element

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"head_linear_{self.weight}_h{self.num_heads}_{self.input_dim}x{self.output_dim}"


def describe(op: HeadLinearOp, target: object) -> Spec | str:
    """Take every product with weights that are no integers."""
    if not encoding_of(op.weight).is_plain:
        return "weight must be f32 or bf16, not integers"
    return Spec(
        num_heads=op.num_heads.value.data,
        input_dim=op.input_dim,
        output_dim=weight_shape(op.weight)[1],
        head_pitch=op.head_pitch,
        x=element(op.x),
        weight=element(op.weight),
        output=element(op.result),
        **column_views(x=op.x),
    )


def arguments(spec: Spec, schedule: object) -> Arguments:
    """The arguments of a call."""
    rows = spec.num_heads * spec.input_dim
    return (
        *batch("control"),
        activation("x", spec.x, spec.x_pitch),
        given("weight", spec.weight, rows, padded(spec.output_dim)),
        result("y", spec.output, padded(spec.num_heads * spec.output_dim)),
    )
