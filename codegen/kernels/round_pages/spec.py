"""What a round_pages kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, Role, activation, batch
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.page_rows import RoundedShape, rounded_shape
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import RoundPagesOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Sizes of the cache, and where k and v are: columns from `*_start` of rows of `*_pitch`."""

    kv_heads: int
    page_tokens: int
    head_dim: int
    element: Element
    key_bits: int
    value_bits: int
    recent: int
    k_start: int
    k_pitch: int
    v_start: int
    v_pitch: int

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        sizes = f"kv{self.kv_heads}_d{self.head_dim}_b{self.page_tokens}"
        return f"round_pages_{self.element}_k{self.key_bits}v{self.value_bits}_{sizes}"

    @property
    def cache(self) -> RoundedShape:
        """The shape of the pages and of the recent tokens."""
        sizes = (self.kv_heads, self.page_tokens, self.head_dim, self.element)
        return RoundedShape(*sizes, self.key_bits, self.value_bits, self.recent)


def describe(op: RoundPagesOp, target: object) -> Spec | str:
    """Take every op with float32 keys and values."""
    refusal = refuse_unless_float32(k=op.k, v=op.v)
    if refusal:
        return refusal
    shape = rounded_shape(kv_type(op.kv), element(op.kv))
    return Spec(
        shape.kv_heads,
        shape.page_tokens,
        shape.head_dim,
        shape.element,
        shape.key_bits,
        shape.value_bits,
        shape.recent,
        **column_views(k=op.k, v=op.v),
    )


def arguments(spec: Spec, workspaces: Arguments) -> Arguments:
    """The arguments of a call."""
    return (
        *batch("control", "offsets", "history", "slots", "page_table"),
        activation("k", "f32", spec.k_pitch),
        activation("v", "f32", spec.v_pitch),
        *spec.cache.pools(Role.STATE),
        *workspaces,
    )
