"""Constants and tiles of the lightning attention kernel."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.operands import symbol_of
from sala_compile.codegen.kernels.tir.builder import LANES
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded

CHUNK = 64
"""Tokens of one chunk of the chunked form."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What the kernel is compiled for.

    q, k and v are columns from `*_start` on of rows `*_pitch` floats apart. `norm` and `rope` say
    whether the norm weights and the rotary table are among the parameters.
    """

    num_heads: int
    kv_heads: int
    head_dim: int
    scale: float
    eps: float
    slopes: tuple[float, ...]
    q_start: int
    k_start: int
    v_start: int
    q_pitch: int
    k_pitch: int
    v_pitch: int
    norm: bool
    rope: bool
    out_element: Element = Element.F32

    def __post_init__(self) -> None:
        """Accept the element type by its name."""
        object.__setattr__(self, "out_element", Element(self.out_element))

    @property
    def symbol(self) -> str:
        """The name of the kernel."""
        sizes = f"h{self.num_heads}_kv{self.kv_heads}_d{self.head_dim}"
        return symbol_of("lightning_attention", sizes, self)


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
