"""The canonical form of a state, piece by piece from and to the pools of any target.

The program says of each part how an entry looks and for which tokens there is one: keys and values
are [tokens, kv heads, head_dim], compressed keys [keys, kv heads, head_dim], in the element type of
the cache; a fixed state is as it is, such as [heads, key, value].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from sala_compile.runtime.artifact import ElementType, Pool, PoolPart, Program
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.state.page_layout import RowLayout
from sala_compile.runtime.state.store import State

PIECE_BYTES = 4 << 20
"""Bytes that are converted at a time, about."""


@dataclass(frozen=True, slots=True)
class CanonicalPart:
    """One value of a program's pools and its share of a state of `length` tokens.

    `group` numbers its pages, None if the state is fixed: then it is one row. `rows` counts
    entries (those of the first extent of a fixed state), of which `page_rows` are in a page; entry
    0 is in place `first`. Drawn numbers are about as large as `unit`.
    """

    pool: str
    name: str
    group: str | None
    element: ElementType
    rows: int
    row: tuple[int, ...]
    page_rows: int
    first: int
    layout: RowLayout
    unit: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape."""
        return (self.rows, *self.row)

    @property
    def nbytes(self) -> int:
        """Bytes of the canonical array."""
        return prod(self.shape) * self.element.itemsize

    def spans(self) -> Iterator[tuple[int, int, int, int]]:
        """Pieces of whole pages: first and last page, first and last row (ends excluded)."""
        page_bytes = self.page_rows * prod(self.row) * self.element.itemsize
        step = max(1, PIECE_BYTES // page_bytes)
        pages = -(-(self.rows + self.first) // self.page_rows) if self.rows else 0
        for page in range(0, pages, step):
            last = min(page + step, pages)
            begin = max(0, page * self.page_rows - self.first)
            yield page, last, begin, min(self.rows, last * self.page_rows - self.first)


class StateLayout:
    """The pools of one target of a program, as parts of a state."""

    def __init__(self, program: Program, target: str) -> None:
        self._groups = program.paging.groups
        self._values = program.values
        self._parts = [
            (program.pools[name], value, part)
            for name, stored in program.pools_of(target).items()
            for value, part in stored.items()
        ]

    def parts(self, length: int) -> list[CanonicalPart]:
        """Every part of a state of `length` tokens, in the order of their canonical names."""
        made = [self._part(pool, value, part, length) for pool, value, part in self._parts]
        return sorted(made, key=lambda part: part.name)

    def _part(self, pool: Pool, name: str, part: PoolPart, length: int) -> CanonicalPart:
        value = self._values[name]
        shape = tuple(dim for dim in value.shape[1:] if isinstance(dim, int))
        axes = part.stored[name]
        if pool.group is None:
            layout = RowLayout(shape, axes, part.row)
            rows, *row = part.row
            return CanonicalPart(
                name, part.name, None, value.dtype, rows, tuple(row), 1, 0, layout, part.unit
            )
        entries = self._groups[pool.group].tokens // part.stride
        return CanonicalPart(
            name,
            part.name,
            pool.group,
            value.dtype,
            part.count(length),
            part.row,
            entries,
            part.skipped,
            RowLayout(shape, axes, (entries, *part.row)),
            part.unit,
        )


def read_pieces(part: CanonicalPart, memory: Memory, state: State) -> Iterator[np.ndarray]:
    """The canonical array of a part, some rows at a time."""
    if part.group is None:
        yield part.layout.entries(memory.read_rows(part.pool, [state.slot]))[0]
        return
    pages = state.pages[part.group]
    for first, last, begin, end in part.spans():
        stored = memory.read_rows(part.pool, pages[first:last])
        rows = part.layout.entries(stored).reshape(-1, *part.row)
        offset = begin + part.first - first * part.page_rows
        yield rows[offset : offset + end - begin]


def write_pieces(
    part: CanonicalPart, memory: Memory, state: State
) -> Iterator[tuple[int, "PieceWriter"]]:
    """For each piece of a part its size in bytes, and the writer that puts it into the pool."""
    if part.group is None:
        yield part.nbytes, PieceWriter(part, memory, [state.slot], 0, part.rows)
        return
    pages = state.pages[part.group]
    row_bytes = prod(part.row) * part.element.itemsize
    for first, last, begin, end in part.spans():
        offset = begin + part.first - first * part.page_rows
        writer = PieceWriter(part, memory, pages[first:last], offset, end - begin)
        yield (end - begin) * row_bytes, writer


@dataclass(frozen=True, slots=True)
class PieceWriter:
    """Writes `count` canonical rows into `pages`, from slot `offset` of the first one on."""

    part: CanonicalPart
    memory: Memory
    pages: list[int]
    offset: int
    count: int

    def write(self, data: bytes | bytearray) -> None:
        """Write the rows; slots of these pages that hold none become 0."""
        rows = np.frombuffer(data, self.part.element.numpy).reshape(self.count, *self.part.row)
        if self.part.group is None:
            stored = self.part.layout.stored(rows[None])
            self.memory.write_rows(self.part.pool, self.pages, stored)
            return
        whole = np.zeros((len(self.pages) * self.part.page_rows, *self.part.row), rows.dtype)
        whole[self.offset : self.offset + self.count] = rows
        whole = whole.reshape(len(self.pages), self.part.page_rows, *self.part.row)
        self.memory.write_rows(self.part.pool, self.pages, self.part.layout.stored(whole))
