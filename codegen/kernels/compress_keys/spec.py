"""What a compress_keys kernel is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import ClassVar

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
class WindowSpec(KernelSpec):
    """Sizes of keys and of windows of them; a window is two strides long.

    `block_size` is that of the cache: 64 of them are in a page of compressed keys.
    """

    FAMILY: ClassVar[str]

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
        return f"{self.FAMILY}_{self.element}_{sizes}"

    @property
    def levels(self) -> tuple[CompressedLevel, CompressedLevel]:
        """The fine and the coarse level."""
        return compressed_levels(self.block_size, self.kernel_stride)

    def compressed_pools(self, *, packed: bool) -> Arguments:
        """The pools of both levels, which are written; `packed` ones are those of CPUs."""
        sizes = (self.levels, self.kv_heads, self.head_dim, self.compressed_element)
        return compressed_pools(*sizes, packed=packed, role=Role.STATE)


@dataclass(frozen=True, slots=True)
class Spec(WindowSpec):
    """Windows of the keys of a cache."""

    FAMILY = "compress_keys"

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages of keys."""
        return CacheShape(self.kv_heads, self.block_size, self.head_dim, self.element)


def describe(op: CompressKeysOp, target: object) -> Spec | str:
    """Take every op whose keys are in pages: types say that windows of two strides fill blocks."""
    if op.k is not None:
        return "full pages are rounded"
    kv_heads, block_size, head_dim = kv_type(op.kv).sizes
    stride = compressed_type(op.ck).kernel_stride.data
    return Spec(kv_heads, block_size, head_dim, stride, element(op.kv), element(op.ck))


def pools(spec: Spec, *, packed: bool) -> Arguments:
    """The pools of keys and of both levels; `packed` ones are those of CPUs."""
    keys, _ = spec.cache.pools(packed=packed)
    return (keys, *spec.compressed_pools(packed=packed))
