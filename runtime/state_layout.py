"""The canonical form of a state, and its conversion from and to the kernels' pools.

Keys and values are [tokens, kv heads, head_dim], compressed keys [keys, kv heads, head_dim], in
the element type of the cache; a recurrent state is [heads, key, value] float32. In the pools
keys are [pages, kv heads, D/p, slots, p] and values [pages, kv heads, slots/p, Dp, p], where p
elements share 32 bits, slots and Dp are rounded up; compressed key j stands in slot j + 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from runtime.artifact import ElementType, Program, Symbol, ValueKind, pool_symbol
from runtime.errors import RequestError
from runtime.store import State

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
    values: bool

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


def parts_of(program: Program, length: int) -> list[Part]:
    """Every part of a state of `length` tokens, in the order of the program.

    RequestError for a program whose pools have another form.
    """
    heads = _head_sizes(program)
    return [
        _part(program, name, length, heads)
        for name, value in program.values.items()
        if value.kind is ValueKind.POOL
    ]


def read_pieces(part: Part, pool: np.ndarray, state: State) -> Iterator[np.ndarray]:
    """The canonical array of a part, some rows at a time."""
    if part.symbol is Symbol.SLOTS:
        yield pool[state.slot]
        return
    pages = _pages(part, state)
    for first, last, begin, end in part.spans():
        rows = _to_rows(part, pool[pages[first:last]])
        offset = begin + part.first - first * part.page_rows
        yield rows[offset : offset + end - begin]


def write_pieces(part: Part, pool: np.ndarray, state: State) -> Iterator[tuple[int, "PieceWriter"]]:
    """For each piece of a part how many bytes it has, and what writes it into the pool."""
    if part.symbol is Symbol.SLOTS:
        yield part.nbytes, PieceWriter(part, pool, [state.slot], 0, part.rows)
        return
    pages = _pages(part, state)
    row_bytes = prod(part.row) * part.element.itemsize
    for first, last, begin, end in part.spans():
        offset = begin + part.first - first * part.page_rows
        writer = PieceWriter(part, pool, pages[first:last], offset, end - begin)
        yield (end - begin) * row_bytes, writer


@dataclass(frozen=True, slots=True)
class PieceWriter:
    """Writes `count` canonical rows into `pages`, from slot `offset` of the first one on."""

    part: Part
    pool: np.ndarray
    pages: list[int]
    offset: int
    count: int

    def write(self, data: bytes | bytearray) -> None:
        """Write the rows; slots of these pages that hold none become 0."""
        rows = np.frombuffer(data, self.part.element.numpy).reshape(self.count, *self.part.row)
        if self.part.symbol is Symbol.SLOTS:
            self.pool[self.pages[0]] = rows
            return
        whole = np.zeros((len(self.pages) * self.part.page_rows, *self.part.row), rows.dtype)
        whole[self.offset : self.offset + self.count] = rows
        _set_pages(self.part, self.pool, self.pages, whole)


def _part(program: Program, pool: str, length: int, heads: Mapping[str, tuple[int, int]]) -> Part:
    value, symbol = program.values[pool], pool_symbol(program.values[pool])
    stem, role = _split(pool)
    shape = tuple(dim for dim in value.shape[1:] if isinstance(dim, int))
    name = stem + _ROLES[role]
    if symbol is Symbol.SLOTS:
        return Part(pool, name, symbol, value.dtype, shape[0], shape[1:], 1, 0, False)
    if symbol is Symbol.PAGES:
        row, slots = heads[stem], program.paging.page_tokens
        return Part(pool, name, symbol, value.dtype, length, row, slots, 0, role.endswith("v"))
    row, slots = (shape[0], shape[1] * shape[3]), shape[2]
    stride = program.paging.compressed_page_tokens // slots
    keys = max(0, length // stride - 1)
    return Part(pool, name, symbol, value.dtype, keys, row, slots, 1, False)


def _head_sizes(program: Program) -> dict[str, tuple[int, int]]:
    """kv heads and head size of every layer with a cache, from its pool of keys."""
    sizes: dict[str, tuple[int, int]] = {}
    for name, value in program.values.items():
        if value.kind is ValueKind.POOL and name.endswith(".kv_cache.k"):
            heads, packs, _, pack = (dim for dim in value.shape[1:] if isinstance(dim, int))
            sizes[_split(name)[0]] = heads, packs * pack
    return sizes


def _split(pool: str) -> tuple[str, str]:
    """The layer of a pool and its role."""
    for role in _ROLES:
        if pool.endswith(role):
            return pool.removesuffix(role), role
    raise RequestError(
        f"the state {pool!r} has no canonical form",
        where="program.json: values",
        expected=f"names that end in {', '.join(_ROLES)}",
        fix="compile again",
    )


def _pages(part: Part, state: State) -> list[int]:
    return state.pages if part.symbol is Symbol.PAGES else state.compressed_pages


def _to_rows(part: Part, pages: np.ndarray) -> np.ndarray:
    """The slots of pages as canonical rows [slots of all pages, kv heads, head_dim]."""
    count, (heads, size) = len(pages), part.row
    if part.values:
        slots = pages.shape[2] * pages.shape[4]
        rows = pages.transpose(0, 2, 4, 1, 3).reshape(count, slots, heads, pages.shape[3])
        rows = rows[:, : part.page_rows, :, :size]
    else:
        rows = pages.transpose(0, 3, 1, 2, 4).reshape(count, pages.shape[3], heads, size)
        rows = rows[:, : part.page_rows]
    return np.ascontiguousarray(rows).reshape(-1, heads, size)


def _set_pages(part: Part, pool: np.ndarray, pages: list[int], rows: np.ndarray) -> None:
    """The inverse of `_to_rows`; padding becomes 0."""
    heads, size = part.row
    rows = rows.reshape(len(pages), part.page_rows, heads, size)
    _, _, *inner = pool.shape
    if part.values:
        packs, columns, pack = inner
        slots = packs * pack
        padding = ((0, 0), (0, slots - part.page_rows), (0, 0), (0, columns - size))
        filled = np.pad(rows, padding).reshape(len(pages), packs, pack, heads, columns)
        pool[pages] = filled.transpose(0, 3, 1, 4, 2)
        return
    packs, slots, pack = inner
    filled = np.pad(rows, ((0, 0), (0, slots - part.page_rows), (0, 0), (0, 0)))
    pool[pages] = filled.reshape(len(pages), slots, heads, packs, pack).transpose(0, 2, 3, 1, 4)
