"""Tiles of the lightning attention kernel of a CPU."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.lightning_attention.spec import CHUNK
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Schedule:
    """Register tiles: `row_tile` x `column_vectors` in a chunk, `step_vectors` in a single step."""

    row_tile: int = 8
    column_vectors: int = 2
    step_vectors: int = 8

    @property
    def rows(self) -> int:
        """Rows of a chunk, rounded up to whole tiles."""
        return -(-CHUNK // self.row_tile) * self.row_tile

    def workspace(self, head_dim: int) -> int:
        """Floats of scratch memory of one worker."""
        columns = padded(head_dim)
        queries, scores = self.rows * columns, self.rows * CHUNK
        return queries + 3 * CHUNK * columns + scores + LANES
