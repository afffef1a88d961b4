"""Tiles of the block selection kernel of a CPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.page_rows import CompressedLevel
from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.kernels.tir.tiles import DEPTH, SUMS, TILE, WIDE
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Schedule:
    """Up to `row_tile` heads x `column_vectors` vectors of 16 keys are scored at a time.

    `accumulators` vectors of sums at most, so that nothing spills. `widened`: see `Product`. Where
    `tiled`, AMX multiplies all heads with `column_vectors` = 4 vectors of keys, if they are bf16
    and head and page are whole tiles; `row_tile` heads take their exponentials at a time.
    """

    row_tile: int = 8
    column_vectors: int = 4
    accumulators: int = 16
    widened: bool = False
    tiled: bool = False

    def uses_tiles(self, spec: Spec) -> bool:
        """Whether products are those of AMX tiles."""
        width = WIDE * TILE
        whole = spec.head_dim % DEPTH == 0 and all(lv.run % width == 0 for lv in spec.levels)
        return self.tiled and spec.element is Element.BF16 and whole

    def product(self, spec: Spec) -> Product:
        """How queries are multiplied by the compressed keys, unless by tiles, which take pairs."""
        return Product(spec.element, self.widened and not self.uses_tiles(spec))

    def height(self, spec: Spec) -> int:
        """Heads of a tile."""
        return min(self.row_tile, spec.group)

    def rows(self, spec: Spec) -> int:
        """Heads of a group, rounded up to whole tiles."""
        height = self.height(spec)
        return -(-spec.group // height) * height

    def vectors(self, spec: Spec, level: CompressedLevel) -> int:
        """Vectors of keys in a tile; whole tiles fill a run."""
        if self.uses_tiles(spec):
            return WIDE
        run = level.run // LANES
        most = min(self.column_vectors, self.accumulators // self.height(spec))
        return max(n for n in range(1, max(1, most) + 1) if run % n == 0)

    def heads_floats(self, spec: Spec) -> int:
        """Floats of the maxima and sums of all heads, and of the products of tiles."""
        return self.stored_at(spec) + (WIDE * SUMS if self.uses_tiles(spec) else 0)

    def stored_at(self, spec: Spec) -> int:
        """The place of the products of tiles, after the maxima and sums."""
        return 2 * self.rows(spec) * LANES

    def queries(self, spec: Spec) -> int:
        """Elements of the queries of a group."""
        return self.rows(spec) * padded(spec.head_dim)

    def slack(self) -> int:
        """Scores beyond the last fine key that a tile may write."""
        return (self.column_vectors + 1) * LANES
