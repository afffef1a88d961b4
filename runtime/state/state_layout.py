"""The canonical form of a state, piece by piece from and to the pools of any target.

Keys and values are [tokens, kv heads, head_dim], compressed keys [keys, kv heads, head_dim], in
the element type of the cache; a recurrent state is [heads, key, value] float32. In the pools,
compressed key j stands in slot j + 1 of its pages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from sala_compile.runtime.artifact import (
    ElementType,
    Program,
    Symbol,
    Value,
    ValueKind,
    pool_symbol,
)
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.state.page_layout import Page, page_of
from sala_compile.runtime.state.store import State

PIECE_BYTES = 4 << 20
"""About as much as is converted at a time."""
_ROLES = {
    ".kv_cache.k": ".keys",
    ".kv_cache.v": ".values",
    ".compressed_keys.fine": ".fine",
    ".compressed_keys.coarse": ".coarse",
    ".recurrent_state": ".recurrent_state",
}
"""How the names of pools end, and those of their canonical arrays."""


@dataclass(frozen=True, slots=True)
class Part:
    """One pool of a program and its share of a state of `length` tokens.

    `rows` counts tokens, keys or (recurrent) heads; `first` is the slot of row 0.
    """

    pool: str
    name: str
    symbol: Symbol
    element: ElementType
    rows: int
    row: tuple[int, ...]
    page_rows: int
    first: int
    page: Page | None

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
        self._paging = program.paging
        values = program.values_of(target).items()
        self._pools = {name: value for name, value in values if value.kind is ValueKind.POOL}

    def parts(self, length: int) -> list[Part]:
        """Every part of a state of `length` tokens, in the order of their canonical names.

        RequestError for pools of another form.
        """
        made = [self._part(name, value, length) for name, value in self._pools.items()]
        return sorted(made, key=lambda part: part.name)

    def _part(self, pool: str, value: Value, length: int) -> Part:
        symbol, (stem, role) = pool_symbol(value), _split(pool)
        shape = tuple(dim for dim in value.shape[1:] if isinstance(dim, int))
        name = stem + _ROLES[role]
        if symbol is Symbol.SLOTS:
            return Part(pool, name, symbol, value.dtype, shape[0], shape[1:], 1, 0, None)
        keys = self._pools[pool.removesuffix("v") + "k"] if role.endswith(".v") else value
        page = page_of(shape, values=keys is not value)
        head_dim = page_of(tuple(d for d in keys.shape[1:] if isinstance(d, int))).columns
        if symbol is Symbol.PAGES:
            rows, slots, first = length, self._paging.page_tokens, 0
        else:
            slots = page.slots
            stride = self._paging.compressed_page_tokens // slots
            rows, first = max(0, length // stride - 1), 1
        row = (page.heads, head_dim)
        return Part(pool, name, symbol, value.dtype, rows, row, slots, first, page)


def read_pieces(part: Part, memory: Memory, state: State) -> Iterator[np.ndarray]:
    """The canonical array of a part, some rows at a time."""
    if part.page is None:
        yield memory.read_rows(part.pool, [state.slot])[0]
        return
    pages = _pages(part, state)
    for first, last, begin, end in part.spans():
        stored = memory.read_rows(part.pool, pages[first:last])
        rows = part.page.rows(stored, part.page_rows, part.row[-1])
        offset = begin + part.first - first * part.page_rows
        yield rows[offset : offset + end - begin]


def write_pieces(part: Part, memory: Memory, state: State) -> Iterator[tuple[int, "PieceWriter"]]:
    """For each piece of a part how many bytes it has, and what writes it into the pool."""
    if part.page is None:
        yield part.nbytes, PieceWriter(part, memory, [state.slot], 0, part.rows)
        return
    pages = _pages(part, state)
    row_bytes = prod(part.row) * part.element.itemsize
    for first, last, begin, end in part.spans():
        offset = begin + part.first - first * part.page_rows
        writer = PieceWriter(part, memory, pages[first:last], offset, end - begin)
        yield (end - begin) * row_bytes, writer


@dataclass(frozen=True, slots=True)
class PieceWriter:
    """Writes `count` canonical rows into `pages`, from slot `offset` of the first one on."""

    part: Part
    memory: Memory
    pages: list[int]
    offset: int
    count: int

    def write(self, data: bytes | bytearray) -> None:
        """Write the rows; slots of these pages that hold none become 0."""
        rows = np.frombuffer(data, self.part.element.numpy).reshape(self.count, *self.part.row)
        page = self.part.page
        if page is None:
            self.memory.write_rows(self.part.pool, self.pages, rows[None])
            return
        whole = np.zeros((len(self.pages) * self.part.page_rows, *self.part.row), rows.dtype)
        whole[self.offset : self.offset + self.count] = rows
        whole = whole.reshape(len(self.pages), self.part.page_rows, *self.part.row)
        self.memory.write_rows(self.part.pool, self.pages, page.stored(whole))


def _split(pool: str) -> tuple[str, str]:
    """The layer of a pool, without the kind of target that it is for, and its role."""
    for role in _ROLES:
        if pool.endswith(role):
            return pool.removesuffix(role).rpartition("/")[2], role
    raise RequestError(
        f"the state {pool!r} has no canonical form",
        where="program.json: values",
        expected=f"names that end in {', '.join(_ROLES)}",
        fix="compile again",
    )


def _pages(part: Part, state: State) -> list[int]:
    return state.pages if part.symbol is Symbol.PAGES else state.compressed_pages
