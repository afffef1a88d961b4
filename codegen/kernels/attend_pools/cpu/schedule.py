"""Tiles of attention to pools on a CPU, and the memory of a worker."""

from dataclasses import dataclass
from math import gcd

from sala_compile.codegen.kernels.attend_pools.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded

SHARED = 4
"""Heads of tokens for each worker below which workers share the segments of one."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`row_tile` rows at most, and about `accumulators` vectors of sums in registers.

    `tile_tokens` and `segment_tiles` are part of the result: they say where the running maximum is
    taken, and where it begins anew. `widened`: see `Product`.
    """

    row_tile: int = 8
    accumulators: int = 16
    tile_tokens: int = 256
    segment_tiles: int = 2
    widened: bool = False

    def product(self, spec: Spec) -> Product:
        """How queries and probabilities are multiplied by the cache."""
        return Product(spec.element, self.widened)

    def height(self, spec: Spec) -> int:
        """Rows of a register tile: the heads of a group, or an even part of them."""
        tiles = -(-spec.group // self.row_tile)
        return -(-spec.group // tiles)

    def vectors(self, spec: Spec) -> int:
        """Vectors of a register tile."""
        return max(1, min(8, self.accumulators // self.height(spec)))

    def entries(self, spec: Spec) -> int:
        """Pools of a tile of scores."""
        return max(1, self.tile_tokens // spec.pool)

    def width(self, spec: Spec) -> int:
        """Scores of a row of a tile."""
        return padded(self.entries(spec) * spec.pool)

    def segments(self, spec: Spec) -> int:
        """Segments of the pools of a token, at most."""
        tiles = -(-(spec.count + 1) // self.entries(spec))
        return -(-tiles // self.segment_tiles)

    def run(self, spec: Spec) -> int:
        """Neighbours among the keys of a vector that are neighbours in a page."""
        return gcd(spec.pool, LANES)

    def stages_keys(self, spec: Spec) -> bool:
        """Whether the keys of a vector are brought together from several pools."""
        return self.run(spec) < LANES

    def stages_values(self, spec: Spec) -> bool:
        """Whether pairs of values are brought together from several pools."""
        return spec.pool % spec.element.pack != 0

    def record(self, spec: Spec) -> int:
        """Floats of the partial result of a row: output, maximum, sum, and a place for a count."""
        return padded(spec.head_dim) + 3 * LANES

    def floats(self, spec: Spec) -> int:
        """Floats of a worker: scores, two records of each row, factors."""
        return spec.group * (self.width(spec) + 2 * self.record(spec) + LANES)

    def operands(self, spec: Spec) -> int:
        """Elements of a worker: queries and probabilities."""
        return spec.group * (padded(spec.head_dim) + self.width(spec))

    def staged(self, spec: Spec) -> int:
        """Elements of a worker for keys or values of a register tile's columns."""
        columns = self.vectors(spec) * LANES
        keys = spec.head_dim * columns * self.stages_keys(spec)
        values = padded(self.width(spec)) * columns * self.stages_values(spec)
        return max(keys, values)

    def partials(self, spec: Spec) -> int:
        """Floats of a worker for records that other workers read."""
        return SHARED * self.segments(spec) * spec.group * self.record(spec)
