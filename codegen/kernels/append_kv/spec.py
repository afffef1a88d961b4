"""What an append_kv kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, Role, activation, batch
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.page_rows import CacheShape
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import AppendKvOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Sizes of the cache, and where k and v are: columns from `*_start` of rows of `*_pitch`."""

    kv_heads: int
    block_size: int
    head_dim: int
    element: Element
    k_start: int
    k_pitch: int
    v_start: int
    v_pitch: int

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        sizes = f"kv{self.kv_heads}_d{self.head_dim}_b{self.block_size}"
        return f"append_kv_{self.element}_{sizes}"

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages."""
        return CacheShape(self.kv_heads, self.block_size, self.head_dim, self.element)


def describe(op: AppendKvOp, target: object) -> Spec | str:
    """Take every op with float32 keys and values."""
    refusal = refuse_unless_float32(k=op.k, v=op.v)
    if refusal:
        return refusal
    kv_heads, block_size, head_dim = kv_type(op.kv).sizes
    return Spec(kv_heads, block_size, head_dim, element(op.kv), **column_views(k=op.k, v=op.v))


def arguments(spec: Spec, schedule: object, *, packed: bool) -> Arguments:
    """The arguments of a call; `packed` pages are those of CPUs."""
    return (
        *batch("control", "token_sequence", "token_position", "slots", "page_table"),
        activation("k", "f32", spec.k_pitch),
        activation("v", "f32", spec.v_pitch),
        *spec.cache.pools(packed=packed, role=Role.STATE),
    )
