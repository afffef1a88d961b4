"""Constants and tiles of the block attention kernel."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.operands import symbol_of
from sala_compile.codegen.kernels.page_rows import CacheShape
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Spec:
    """What the kernel is compiled for.

    `element` is the type of the cache and of the operands of both products. q and the gate are
    columns from `*_start` on of rows `*_pitch` floats apart. `budget` is the width of the block
    lists, 0 where there are none (dense attention).
    """

    num_heads: int
    kv_heads: int
    head_dim: int
    block_size: int
    scale: float
    element: Element
    out_element: Element
    budget: int
    q_start: int
    q_pitch: int
    gate: bool
    gate_start: int = 0
    gate_pitch: int = 0

    def __post_init__(self) -> None:
        """Accept element types by their names."""
        for name in ("element", "out_element"):
            object.__setattr__(self, name, Element(getattr(self, name)))

    @property
    def symbol(self) -> str:
        """The name of the kernel."""
        kind = "sparse" if self.budget else "dense"
        sizes = f"h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}_b{self.block_size}"
        return symbol_of("attend_blocks", f"{kind}_{self.element.value}_{sizes}", self)

    @property
    def group(self) -> int:
        """Query heads of one kv head."""
        return self.num_heads // self.kv_heads

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages."""
        return CacheShape(self.kv_heads, self.block_size, self.head_dim, self.element)


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
        """How queries and probabilities meet the cache."""
        return Product(spec.element, self.widened)

    def queries(self, spec: Spec) -> int:
        """Tokens that are taken at a time in the dense regime."""
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
