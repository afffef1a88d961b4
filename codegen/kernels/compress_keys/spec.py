"""What a compress_keys kernel is compiled for, and what it is called with."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, Role
from sala_compile.codegen.kernels.operands import element
from sala_compile.codegen.kernels.page_rows import (
    CacheShape,
    CompressedLevel,
    compressed_levels,
    compressed_pools,
)
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.dialect.heads import compressed_type, kv_type
from sala_compile.sala_ir.dialect.stages import CompressKeysOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """Sizes of the cache and of the windows; a window is two strides long."""

    kv_heads: int
    block_size: int
    head_dim: int
    kernel_stride: int
    element: Element
    compressed_element: Element

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        sizes = f"kv{self.kv_heads}_d{self.head_dim}_s{self.kernel_stride}"
        return f"compress_keys_{self.element}_{sizes}"

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages of keys."""
        return CacheShape(self.kv_heads, self.block_size, self.head_dim, self.element)

    @property
    def levels(self) -> tuple[CompressedLevel, CompressedLevel]:
        """The fine and the coarse level."""
        return compressed_levels(self.block_size, self.kernel_stride)


def describe(op: CompressKeysOp, target: object) -> Spec:
    """Take every op: the types guarantee windows of two strides that fill blocks evenly."""
    kv_heads, block_size, head_dim = kv_type(op.kv).sizes
    stride = compressed_type(op.ck).kernel_stride.data
    return Spec(kv_heads, block_size, head_dim, stride, element(op.kv), element(op.ck))


def pools(spec: Spec, *, packed: bool) -> Arguments:
    """The pools of keys and of both levels; `packed` ones are those of CPUs."""
    keys, _ = spec.cache.pools(packed=packed)
    sizes = (spec.levels, spec.kv_heads, spec.head_dim, spec.compressed_element)
    return (keys, *compressed_pools(*sizes, packed=packed, role=Role.STATE))
