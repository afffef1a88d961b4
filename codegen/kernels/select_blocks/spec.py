"""What a block selection kernel is compiled for, and what it is called with."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.arguments import Arguments, activation, result
from sala_compile.codegen.kernels.operands import column_views, element, refuse_unless_float32
from sala_compile.codegen.kernels.page_rows import (
    CompressedLevel,
    compressed_levels,
    compressed_pools,
)
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.sala_ir.dialect.heads import compressed_type
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp


@dataclass(frozen=True, slots=True)
class Spec(KernelSpec):
    """What the kernel is compiled for: q is columns from `q_start` of rows of `q_pitch` floats."""

    num_heads: int
    kv_heads: int
    head_dim: int
    scale: float
    init_blocks: int
    window_blocks: int
    topk: int
    dense_len: int
    block_size: int
    kernel_size: int
    kernel_stride: int
    element: Element
    q_start: int
    q_pitch: int
    page_blocks: int = 1
    """Blocks in a page of keys and values, of which a page of compressed keys covers 64."""

    @property
    def label(self) -> str:
        """The family and the main sizes, for names."""
        heads = f"h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}"
        sizes = f"{heads}_b{self.block_size}_s{self.kernel_stride}"
        return f"select_blocks_{self.element}_{sizes}"

    @property
    def group(self) -> int:
        """Query heads of one kv head."""
        return self.num_heads // self.kv_heads

    @property
    def ratio(self) -> int:
        """Fine keys that begin in one block."""
        return self.block_size // self.kernel_stride

    @property
    def budget(self) -> int:
        """Blocks that a query reads at most."""
        return self.topk + self.window_blocks

    @property
    def chosen(self) -> int:
        """Blocks that are chosen by score where not all fit the budget: what forced ones leave."""
        return self.topk - 1 - self.init_blocks

    @property
    def levels(self) -> tuple[CompressedLevel, CompressedLevel]:
        """The fine and the coarse level of compressed keys."""
        return compressed_levels(self.page_blocks * self.block_size, self.kernel_stride)


def fields_of(op: SelectBlocksOp) -> dict[str, Any] | str:
    """The fields of a Spec; the reason of a refusal unless queries are float32."""
    refusal = refuse_unless_float32(q=op.q)
    if refusal:
        return refusal
    return {
        **op.parameters,
        "element": element(op.ck),
        "page_blocks": compressed_type(op.ck).page_tokens.data // op.selection.data.block_size,
        **column_views(q=op.q),
    }


def arguments(spec: Spec, batch: Arguments, workspaces: Arguments, *, packed: bool) -> Arguments:
    """The arguments of a call after the fields of the batch."""
    sizes = (spec.levels, spec.kv_heads, spec.head_dim, spec.element)
    return (
        *batch,
        activation("q", "f32", spec.q_pitch),
        *compressed_pools(*sizes, packed=packed),
        result("blocks", "i32", spec.kv_heads, spec.budget),
        result("counts", "i32", spec.kv_heads, number=1),
        *workspaces,
    )
