"""Tiles of attention to latents on a CPU, and the memory of a worker."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.layouts.padding import padded

MOST_SEGMENTS = 16
"""Segments of the past of a token: they become longer where there would be more."""
PARTIAL_RECORDS = 16
"""Partial results, each of a tile of queries and a segment, that a worker has room for."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Scores of `token_tile` tokens and `row_vectors` x 16 heads, outputs of `row_tile` heads.

    A tile of queries has about `query_vectors` vectors of heads. `tile_tokens` and `segment_tiles`
    are part of the result: they say where the running maximum is taken, and where it begins anew.
    """

    token_tile: int = 8
    row_vectors: int = 3
    row_tile: int = 8
    query_vectors: int = 8
    tile_tokens: int = 256
    segment_tiles: int = 4

    def head_vectors(self, spec: Spec) -> int:
        """Vectors of 16 heads of a query."""
        return padded(spec.num_heads) // LANES

    def queries(self, spec: Spec) -> int:
        """Tokens that are taken at a time: a power of two, at most a block; one with a list."""
        if spec.is_selected:
            return 1
        most = max(1, self.query_vectors // self.head_vectors(spec))
        block = spec.block_size
        return min(1 << most.bit_length() - 1, block & -block)

    def rows(self, spec: Spec) -> int:
        """Rows (token, head) of a tile of queries, whole vectors for each token."""
        return self.queries(spec) * self.head_vectors(spec) * LANES

    def blocks(self, spec: Spec) -> int:
        """Blocks of a tile of scores."""
        return max(1, self.tile_tokens // spec.block_size)

    def tokens(self, spec: Spec) -> int:
        """Tokens of a tile of scores, whole packs."""
        return self.blocks(spec) * spec.block_size

    def segment(self, spec: Spec) -> int:
        """Blocks of a segment of a past that has no more than `MOST_SEGMENTS` of them."""
        return self.segment_tiles * self.blocks(spec)

    def places(self, spec: Spec) -> int:
        """Integers of a worker: page and place of each token of a tile of a list."""
        return 2 * self.tokens(spec)

    def out_columns(self, spec: Spec) -> int:
        """Columns of an output in memory of a worker: whole vectors of packs."""
        return padded(-(-spec.latent_dim // spec.element.pack)) * spec.element.pack

    def record(self, spec: Spec) -> int:
        """Floats of a partial result of a tile: outputs, then a maximum and a sum for each row."""
        return self.rows(spec) * (self.out_columns(spec) + 2)

    def scores(self, spec: Spec) -> int:
        """Floats of a worker: scores, two records, factors."""
        return self.rows(spec) * (self.tokens(spec) + 1) + 2 * self.record(spec)

    def operands(self, spec: Spec) -> int:
        """Elements of a worker: queries and probabilities."""
        return self.rows(spec) * (spec.columns + self.tokens(spec))

    def staged(self, spec: Spec) -> int:
        """Elements of a worker for the columns of one group of vectors, token by token."""
        return self.tokens(spec) * spec.element.pack * LANES
