"""What a keep_recent kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, Role, activation, batch
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.page_rows import RoundedShape, rounded_shape
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import KeepRecentOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """`recent` tokens of each head are kept; where k and v are: columns of rows of `*_pitch`."""

    kv_heads: int
    head_dim: int
    recent: int
    element: Element
    k_start: int
    k_pitch: int
    v_start: int
    v_pitch: int

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        return f"keep_recent_{self.element}_kv{self.kv_heads}_d{self.head_dim}_r{self.recent}"


def describe(op: KeepRecentOp, target: object) -> Spec | str:
    """Take every op with float32 keys and values."""
    refusal = refuse_unless_float32(k=op.k, v=op.v)
    if refusal:
        return refusal
    shape = rounded_shape(kv_type(op.kv), element(op.kv))
    views = column_views(k=op.k, v=op.v)
    return Spec(shape.kv_heads, shape.head_dim, shape.recent, shape.element, **views)


def arguments(spec: Spec, schedule: object) -> Arguments:
    """The arguments of a call."""
    fields = ("control", "offsets", "history", "slots", "checkpoints")
    shape = RoundedShape(spec.kv_heads, 1, spec.head_dim, spec.element, 8, 8, spec.recent)
    recent = [each for each in shape.pools(Role.STATE) if each.part.startswith("recent")]
    return (
        *batch(*fields),
        activation("k", "f32", spec.k_pitch),
        activation("v", "f32", spec.v_pitch),
        *recent,
    )
