"""How keys and values lie in a page, on processors and on GPUs.

On a processor keys are [kv heads, D/p, slots, p] and values [kv heads, slots/p, Dp, p], where p
elements share 32 bits; slots and Dp are rounded up. On a GPU both are [kv heads, slots, D].

Every form has `rows`, which gives the first `count` slots of each page as [slots of all pages,
heads, columns], and `stored`, which gives pages for rows [pages, slots, heads, columns]; padding
becomes 0.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class PlainPage:
    """[heads, slots, columns]."""

    heads: int
    slots: int
    columns: int

    def rows(self, pages: np.ndarray, count: int, columns: int) -> np.ndarray:
        """Rows of pages."""
        return _joined(pages.transpose(0, 2, 1, 3), count, columns)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Pages of rows."""
        return _padded(rows, self.slots, self.columns).transpose(0, 2, 1, 3)


@dataclass(frozen=True, slots=True)
class PackedKeys:
    """[heads, columns / pack, slots, pack]."""

    heads: int
    slots: int
    columns: int
    pack: int

    def rows(self, pages: np.ndarray, count: int, columns: int) -> np.ndarray:
        """Rows of pages."""
        shape = (len(pages), self.slots, self.heads, self.columns)
        return _joined(pages.transpose(0, 3, 1, 2, 4).reshape(shape), count, columns)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Pages of rows."""
        shape = (len(rows), self.slots, self.heads, self.columns // self.pack, self.pack)
        filled = _padded(rows, self.slots, self.columns)
        return filled.reshape(shape).transpose(0, 2, 3, 1, 4)


@dataclass(frozen=True, slots=True)
class PackedValues:
    """[heads, slots / pack, columns, pack]."""

    heads: int
    slots: int
    columns: int
    pack: int

    def rows(self, pages: np.ndarray, count: int, columns: int) -> np.ndarray:
        """Rows of pages."""
        shape = (len(pages), self.slots, self.heads, self.columns)
        return _joined(pages.transpose(0, 2, 4, 1, 3).reshape(shape), count, columns)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """Pages of rows."""
        shape = (len(rows), self.slots // self.pack, self.pack, self.heads, self.columns)
        filled = _padded(rows, self.slots, self.columns)
        return filled.reshape(shape).transpose(0, 3, 1, 4, 2)


Page = PlainPage | PackedKeys | PackedValues


def page_of(shape: tuple[int, ...], *, values: bool = False) -> Page:
    """The form of a page of this shape, which tells processors and GPUs apart."""
    if len(shape) == 3:
        return PlainPage(*shape)
    heads, first, second, pack = shape
    if values:
        return PackedValues(heads, first * pack, second, pack)
    return PackedKeys(heads, second, first * pack, pack)


def _joined(rows: np.ndarray, count: int, columns: int) -> np.ndarray:
    wanted = np.ascontiguousarray(rows[:, :count, :, :columns])
    return wanted.reshape(-1, *wanted.shape[2:])


def _padded(rows: np.ndarray, slots: int, columns: int) -> np.ndarray:
    _, given_slots, _, given_columns = rows.shape
    return np.pad(rows, ((0, 0), (0, slots - given_slots), (0, 0), (0, columns - given_columns)))
