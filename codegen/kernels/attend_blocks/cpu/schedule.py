"""Tiles of the block attention kernel of a CPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded

MOST_SEGMENTS = 32
"""Segments of a row: they become longer where there would be more."""
PARTIAL_ROWS = 512
"""Rows of partial results that the workspace of a worker has room for."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`row_tile` x `column_vectors` accumulators; softmax over tiles of about `tile_tokens`.

    A single token takes `token_rows` x `token_vectors` of its keys and `value_rows` x
    `value_vectors` of its values: rows that divide the heads of a group, so that none is empty.

    Dense attention takes several tokens at a time, about `query_rows` rows (token, head) in all.
    `tile_tokens` and `segment_tiles` are part of the result: they say where the running maximum
    is taken, and where it begins anew. `widened`: see `Product`.
    """

    row_tile: int = 4
    column_vectors: int = 4
    token_rows: int = 1
    token_vectors: int = 4
    value_rows: int = 1
    value_vectors: int = 4
    query_rows: int = 64
    tile_tokens: int = 256
    segment_tiles: int = 4
    value_blocks: int = 4
    fetches_far: bool = True
    widened: bool = False

    @property
    def token_tile(self) -> tuple[int, int]:
        """Rows and vectors of the scores of a single token."""
        return self.token_rows, self.token_vectors

    @property
    def value_tile(self) -> tuple[int, int]:
        """Rows and vectors of its output."""
        return self.value_rows, self.value_vectors

    def product(self, spec: Spec) -> Product:
        """How queries and probabilities are multiplied by the cache."""
        return Product(spec.element, self.widened or spec.is_rounded)

    def queries(self, spec: Spec) -> int:
        """Tokens that are taken at a time on the dense path, a power of two.

        They are of one page where each reads its own in another way.
        """
        most = 1 << max(self.query_rows // spec.group, 1).bit_length() - 1
        page = spec.page_tokens
        return min(most, page & -page) if spec.is_rounded else most

    def rows(self, spec: Spec) -> int:
        """Rows (token, head) of one tile of queries, rounded up to whole register tiles."""
        rows = self.queries(spec) * spec.group
        return -(-rows // self.row_tile) * self.row_tile

    def blocks(self, spec: Spec) -> int:
        """Blocks of one softmax tile."""
        return max(1, self.tile_tokens // padded(spec.block_size))

    def segment(self, spec: Spec) -> int:
        """Blocks of a segment of a row that has no more than `MOST_SEGMENTS` of them."""
        return self.segment_tiles * self.blocks(spec)

    def tile_columns(self, spec: Spec) -> int:
        """Scores of one row of a softmax tile."""
        return self.blocks(spec) * padded(spec.block_size)

    def record(self, spec: Spec) -> int:
        """Floats of the partial result of a row: output, maximum, sum, blocks read."""
        return padded(spec.head_dim) + 3 * LANES

    def floats(self, spec: Spec) -> int:
        """Floats of scratch memory of a worker: scores, two records of each row, factors."""
        row = self.tile_columns(spec) + 2 * self.record(spec) + LANES
        return self.rows(spec) * row

    def split(self, spec: Spec) -> int:
        """Floats of a worker for split columns of the keys or values of some blocks."""
        rows = max(spec.head_dim, self.value_blocks * padded(spec.block_size))
        return rows * self.column_vectors * LANES

    def operands(self, spec: Spec) -> int:
        """Elements of scratch memory of a worker: queries and probabilities."""
        return self.rows(spec) * (padded(spec.head_dim) + self.tile_columns(spec))

    def partials(self, spec: Spec) -> int:
        """Floats of a worker for records that other workers read."""
        return PARTIAL_ROWS * self.record(spec)
