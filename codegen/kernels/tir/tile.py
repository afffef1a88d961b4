"""Register tiles: rows x vectors of accumulators, and loops that cover rows and columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element


@dataclass(frozen=True, slots=True)
class Tile:
    """`rows` x `vectors` vectors of float32 that stay in registers."""

    rows: int
    vectors: int
    cells: Registers

    def __getitem__(self, place: tuple[int, int]) -> Expr:
        """Return vector `j` of row `i`."""
        return self.cells[place[0] * self.vectors + place[1]]

    def __setitem__(self, place: tuple[int, int], value: Expr) -> None:
        """Emit an assignment to vector `j` of row `i`."""
        self.cells[place[0] * self.vectors + place[1]] = value

    def fill(self, value: Callable[[int, int], Expr]) -> "Tile":
        """Emit assignments of `value(i, j)` to every cell; return self."""
        for i in range(self.rows):
            for j in range(self.vectors):
                self[i, j] = value(i, j)
        return self

    def accumulate(
        self,
        element: Element,
        depth: Expr,
        left: Callable[[int, Expr], Expr],
        right: Callable[[int, Expr], Expr],
    ) -> None:
        """Emit `self[i, j] += left(i, k) * right(j, k)` for k = 0 .. depth - 1, in this order.

        `left` gives a spread pack (`Element.spread`), `right` 16 packs (`Element.operand`).
        """
        with loop(depth) as k:
            columns = [right(j, k) for j in range(self.vectors)]
            for i in range(self.rows):
                row = left(i, k)
                for j, column in enumerate(columns):
                    self[i, j] = element.dot(self[i, j], column, row)


def tile(rows: int, vectors: int) -> Tile:
    """Return an uninitialised tile."""
    return Tile(rows, vectors, registers(rows * vectors))


def zero_tile(rows: int, vectors: int) -> Tile:
    """Return a tile of zeros."""
    return tile(rows, vectors).fill(lambda i, j: splat(0.0))


def cover_columns(columns: int, width: int, body: Callable[[Expr, Sequence[int]], None]) -> None:
    """Emit `body(first vector, live lanes of each)` for tiles of up to `width` vectors.

    Together they cover `columns`; only the last vector of all may have fewer than 16 live lanes.
    """
    whole, tail = divmod(columns, LANES)
    repeats = whole // width
    if repeats > 1:
        with loop(repeats) as turn:
            body(let(turn * width), [LANES] * width)
    elif repeats:
        body(0, [LANES] * width)
    rest = [LANES] * (whole - repeats * width) + ([tail] if tail else [])
    if rest:
        body(repeats * width, rest)


def even_width(columns: int, most: int) -> int:
    """Vectors of a tile so that all tiles that cover `columns` are about as wide.

    A last tile of one vector would wait for the latency of its few sums.
    """
    vectors = -(-columns // LANES)
    tiles = -(-vectors // most)
    return -(-vectors // tiles)


def cover_rows(rows: int, height: int, body: Callable[[Expr, int], None]) -> None:
    """Emit `body(first row, number of rows)` for tiles of up to `height` rows."""
    whole, tail = divmod(rows, height)
    if whole:
        with loop(whole) as turn:
            body(let(turn * height), height)
    if tail:
        body(whole * height, tail)


def live_lanes(columns: int) -> list[tuple[int, int]]:
    """The vectors that hold `columns` values: (first column, live lanes)."""
    return [(start, min(LANES, columns - start)) for start in range(0, columns, LANES)]
