"""Rows of pages and slots as bytes, piece by piece, as the target stores them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from sala_compile.runtime.artifact import Paging, Symbol, pages_of
from sala_compile.runtime.devices.device import Memory, rows_by_symbol
from sala_compile.runtime.plan import LAST_LOGITS

PIECE_BYTES = 4 << 20
"""Bytes that are copied at a time: at most, unless a single row of a value is larger."""
SLOT = ""
"""In place of a group: the row of a slot."""


@dataclass(frozen=True, slots=True)
class RowValue:
    """A value of a pool, and one row of it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Bytes of a row."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class RowPiece:
    """Rows `first` to `first + count` of what somebody holds of a group, for some values.

    In its bytes the rows of one value come after those of another.
    """

    group: str
    values: tuple[RowValue, ...]
    first: int
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes of the piece."""
        return self.count * sum(value.nbytes for value in self.values)


class StoredRows:
    """Copies rows out of a memory, and into it: all but the last logits of slots."""

    def __init__(self, memory: Memory, paging: Paging) -> None:
        """For the pools in `memory`."""
        self._memory = memory
        names = rows_by_symbol(memory.plan)
        self.fixed = self._values(name for name in names[Symbol.SLOTS] if name != LAST_LOGITS)
        """The values of a slot."""
        self.paged = {g: self._values(names.get(pages_of(g), ())) for g in paging.groups}
        """The values of a page, by group."""

    def slot_pieces(self) -> list[RowPiece]:
        """The pieces of one slot."""
        return [RowPiece(SLOT, values, 0, 1) for values in _batches(self.fixed)]

    def page_pieces(self, group: str, begin: int, end: int) -> list[RowPiece]:
        """The pieces of pages `begin` to `end` of a group."""
        pieces: list[RowPiece] = []
        for values in _batches(self.paged[group]):
            step = max(1, PIECE_BYTES // sum(value.nbytes for value in values))
            for first in range(begin, end, step):
                pieces.append(RowPiece(group, values, first, min(step, end - first)))
        return pieces

    def read(self, piece: RowPiece, rows: Sequence[int]) -> np.ndarray:
        """The bytes of a piece, uint8, from these rows."""
        out, offset = np.empty(piece.nbytes, np.uint8), 0
        for value in piece.values:
            found = np.ascontiguousarray(self._memory.read_rows(value.name, rows))
            size = value.nbytes * piece.count
            out[offset : offset + size] = found.reshape(-1).view(np.uint8)
            offset += size
        return out

    def write(self, piece: RowPiece, rows: Sequence[int], data: np.ndarray) -> None:
        """Write the bytes of a piece, uint8, to these rows."""
        offset = 0
        for value in piece.values:
            size = value.nbytes * piece.count
            found = data[offset : offset + size].view(value.dtype)
            self._memory.write_rows(value.name, rows, found.reshape(piece.count, *value.shape))
            offset += size

    def _values(self, names: Iterable[str]) -> tuple[RowValue, ...]:
        places = self._memory.plan.places
        return tuple(
            RowValue(name, tuple(places[name].shape[1:]), places[name].value.dtype.numpy)
            for name in sorted(names)
        )


def _batches(values: Sequence[RowValue]) -> Iterator[tuple[RowValue, ...]]:
    """The values in their order, as many at a time as a piece holds a row of; one at least."""
    batch: list[RowValue] = []
    for value in values:
        if batch and value.nbytes + sum(each.nbytes for each in batch) > PIECE_BYTES:
            yield tuple(batch)
            batch = []
        batch.append(value)
    if batch:
        yield tuple(batch)
