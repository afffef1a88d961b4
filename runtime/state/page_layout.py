"""Rows of pools between the form in which a target stores them and their logical extents.

A pool says for each dimension of its rows which logical extent it belongs to: 0 for the entries of
a page, 1, 2 ... for the extents of an entry. A dimension that an extent has twice is its outer and
its inner part: on a processor keys are [heads, D/p, entries, p], which is (1, 2, 0, 2). Dimensions
can be larger than what they hold: the rest is padding. Pages of one entry need no dimension 0.
"""

from dataclasses import dataclass
from math import prod

import numpy as np


@dataclass(frozen=True, slots=True)
class RowLayout:
    """`shape` of a stored row, the extent `axes` of each dimension, and the `logical` extents."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    logical: tuple[int, ...]

    def entries(self, stored: np.ndarray) -> np.ndarray:
        """[rows, *logical] of stored rows [rows, *shape]: a view, or a copy."""
        order = self._order
        split = stored.transpose(0, *(1 + dim for dim in order))
        whole = split.reshape(len(stored), *self._capacity)
        return whole[(slice(None), *map(slice, self.logical))]

    def stored(self, entries: np.ndarray) -> np.ndarray:
        """Stored rows of [rows, *logical]; padding becomes 0."""
        missing = zip(self._capacity, self.logical, strict=True)
        whole = np.pad(entries, [(0, 0), *((0, have - held) for have, held in missing)])
        order = self._order
        split = whole.reshape(len(entries), *(self.shape[dim] for dim in order))
        back = sorted(range(len(order)), key=order.__getitem__)
        return split.transpose(0, *(1 + place for place in back))

    @property
    def _order(self) -> list[int]:
        """The dimensions, those of one extent together, outer before inner."""
        return sorted(range(len(self.axes)), key=lambda dim: (self.axes[dim], dim))

    @property
    def _capacity(self) -> tuple[int, ...]:
        """The capacity of every extent."""
        sizes = list(zip(self.shape, self.axes, strict=True))
        last = max(self.axes)
        extents = range(last + 1 - len(self.logical), last + 1)
        return tuple(prod(size for size, axis in sizes if axis == extent) for extent in extents)
