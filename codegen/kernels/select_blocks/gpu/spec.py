"""Constants and tiles of the block selection kernels of a GPU."""

from dataclasses import dataclass

import triton

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.page_rows import COMPRESSED_BLOCKS
from sala_compile.codegen.kernels.select_blocks import spec as select
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget

LARGEST_RATIO = 64
"""Strides of a block: as many columns has the widest tile of fine keys."""
SLAB_LINES = 2048
"""Rows of block scores (token, kv head) that a workspace of a prefill holds, about."""


@dataclass(frozen=True, slots=True)
class Spec(select.Spec):
    """What the kernels are compiled for; `decode`: every sequence has one new token."""

    decode: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tiles of `rows` rows (query, head) and `keys` columns; `splits` programs share the keys.

    `slab` tokens are scored before their blocks are chosen; the search holds twice `narrow`,
    `middle` or `width` blocks in registers. `splits` and `keys` are part of the result: they say in
    which order sums are taken.
    """

    rows: int
    keys: int
    splits: int
    slab: int
    warps: int
    stages: int
    width: int = 8192
    narrow: int = 1024
    middle: int = 4096

    @classmethod
    def default(cls, spec: Spec, target: CudaTarget) -> "Schedule":
        """Tiles within 99 KiB of shared memory, the least that an architecture has."""
        bf16 = spec.element is Element.BF16
        if spec.decode:
            warps, stages = (4, 3) if bf16 else (8, 2)
            keys = 64 if bf16 else 32
            return cls(16, keys, splits=64, slab=64, warps=warps, stages=stages)
        slab = max(16, SLAB_LINES // spec.kv_heads // 16 * 16)
        if bf16:
            return cls(rows=128, keys=64, splits=4, slab=slab, warps=4, stages=2)
        return cls(rows=32, keys=32, splits=4, slab=slab, warps=8, stages=2)

    @property
    def search_warps(self) -> int:
        """Warps of the search: 32 blocks for a thread, and one warp at least."""
        return max(1, min(16, self.width // 512))

    def heads(self, spec: Spec) -> int:
        """Rows of a query: a power of two."""
        heads = triton.next_power_of_2(spec.group)
        return max(self.rows, heads) if spec.decode else heads

    def queries(self, spec: Spec) -> int:
        """Queries of a tile."""
        return 1 if spec.decode else max(1, self.rows // self.heads(spec))

    def step(self, spec: Spec) -> int:
        """Columns of a block in a tile of fine keys."""
        return triton.next_power_of_2(spec.ratio)

    def blocks(self, spec: Spec) -> int:
        """Blocks of a tile of fine keys."""
        return min(max(1, self.keys // self.step(spec)), COMPRESSED_BLOCKS)

    def coarse_keys(self, spec: Spec) -> int:
        """Keys of a coarse tile, which lies in one page."""
        _, coarse = spec.levels
        return min(self.keys, coarse.slots & -coarse.slots)

    def lines(self, spec: Spec) -> int:
        """Rows of block scores: (token, kv head) of a slab."""
        return self.slab * spec.kv_heads

    def workspaces(self, spec: Spec) -> Arguments:
        """Sums over coarse keys, scores of blocks, and the keys at the edges of tiles of blocks."""
        lines = self.lines(spec)
        paged = lines * spec.page_blocks
        return (
            workspace("sums", "f32", self.slab * spec.num_heads * self.splits),
            workspace("scores", "f32", 16 * lines, per_page=paged),
            workspace("edges", "f32", 2 * lines, per_page=-(-paged // self.blocks(spec))),
        )
