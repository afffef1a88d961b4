"""Tiles of the block attention kernel of a CPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Schedule:
    """`row_tile` x `column_vectors` accumulators; softmax over tiles of about `tile_tokens`.

    Dense attention with fewer than `row_tile` heads in a group takes several tokens at a time,
    about `query_rows` rows in all. `tile_tokens` is part of the result: it says where the running
    maximum is taken. `widened`: see `Product`.
    """

    row_tile: int = 4
    column_vectors: int = 4
    query_rows: int = 8
    tile_tokens: int = 256
    widened: bool = False

    def product(self, spec: Spec) -> Product:
        """How queries and probabilities are multiplied by the cache."""
        return Product(spec.element, self.widened)

    def queries(self, spec: Spec) -> int:
        """Tokens that are taken at a time on the dense path."""
        return 1 if spec.group >= 4 else self.query_rows // spec.group

    def rows(self, spec: Spec) -> int:
        """Rows (token, head) of one item, rounded up to whole tiles."""
        rows = self.queries(spec) * spec.group
        return -(-rows // self.row_tile) * self.row_tile

    def blocks(self, spec: Spec) -> int:
        """Blocks of one softmax tile."""
        return max(1, self.tile_tokens // padded(spec.block_size))

    def tile_columns(self, spec: Spec) -> int:
        """Scores of one row of a softmax tile."""
        return self.blocks(spec) * padded(spec.block_size)

    def floats(self, spec: Spec) -> int:
        """Floats of scratch memory of a worker: scores, output, maximum, sum, factor."""
        return self.rows(spec) * (self.tile_columns(spec) + padded(spec.head_dim) + 3 * LANES)

    def operands(self, spec: Spec) -> int:
        """Elements of scratch memory of a worker: queries and probabilities."""
        return self.rows(spec) * (padded(spec.head_dim) + self.tile_columns(spec))
