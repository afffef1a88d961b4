"""Weight-side values of the interpreter: read rows at a time, never whole unless asked.

A checkpoint of any size can so be interpreted with one block of one tensor in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.reference.arrays import Array, take_rows
from sala_compile.sala_ir.reference.rounding import Round

BLOCK_VALUES = 1 << 23
"""Values of a weight that are in memory at once when it is read in blocks."""


@runtime_checkable
class RowSource(Protocol):
    """Weights by name, seen by rows."""

    def rows(self, name: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of a tensor (elements, where it has one dimension)."""
        ...


Weights = RowSource | Mapping[str, Array] | Callable[[str], Array]
"""Where weights come from: rows of a checkpoint, a mapping, or a function from name to tensor."""


@dataclass(frozen=True, slots=True)
class WholeTensors:
    """Rows of tensors that a function gives whole."""

    tensor: Callable[[str], Array]

    def rows(self, name: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of the tensor."""
        found = self.tensor(name)
        return found if (start, stop) == (0, found.shape[0]) else found[start:stop, ...]


def row_source(weights: Weights) -> RowSource:
    """See weights of any accepted kind by rows."""
    if isinstance(weights, Mapping):
        return WholeTensors(weights.__getitem__)
    return weights if isinstance(weights, RowSource) else WholeTensors(weights)


@dataclass(frozen=True, slots=True)
class WeightValue:
    """A weight of the graph: `read(start, stop)` gives rows in the namespace of the computation."""

    shape: tuple[int, ...]
    read: Callable[[int, int], Array]

    def whole(self) -> Array:
        """All rows."""
        return self.read(0, self.shape[0])

    def take(self, rows: np.ndarray) -> Array:
        """The rows that `rows` names, in that order."""
        if self._size <= BLOCK_VALUES:
            return take_rows(self.whole(), rows)
        distinct, places = np.unique(rows, return_inverse=True)
        parts = [self.read(int(row), int(row) + 1) for row in distinct]
        return take_rows(array_namespace(*parts).concat(parts, axis=0), places)

    def blocks(self) -> Iterator[Array]:
        """All rows, in blocks of at most `BLOCK_VALUES` values."""
        step = max(1, BLOCK_VALUES * self.shape[0] // self._size)
        for start in range(0, self.shape[0], step):
            yield self.read(start, min(start + step, self.shape[0]))

    def map(self, function: Round) -> "WeightValue":
        """The weight with `function` applied to its rows; it keeps the shape."""
        return WeightValue(self.shape, lambda start, stop: function(self.read(start, stop)))

    @property
    def _size(self) -> int:
        return int(np.prod(self.shape))


def stored_weight(
    source: RowSource, name: str, shape: tuple[int, ...], convert: Callable[[Any], Array]
) -> WeightValue:
    """A tensor of the source; `convert` brings its rows to the namespace of the computation."""

    def read(start: int, stop: int) -> Array:
        return convert(source.rows(name, start, stop))

    return WeightValue(shape, read)


def concatenated(parts: tuple[WeightValue, ...], axis: int) -> WeightValue:
    """`concat_weights` of weights that are read by rows."""
    sizes = [part.shape[axis] for part in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum(sizes)
    read = _columns_of(parts) if axis else _rows_of(parts, np.cumsum([0, *sizes]).tolist())
    return WeightValue(tuple(shape), read)


def interleaved(gate: WeightValue, up: WeightValue, group: int) -> WeightValue:
    """`interleave_weights` of weights that are read by rows."""
    rows = gate.shape[0]

    def read(start: int, stop: int) -> Array:
        first, last = start // (2 * group), -(-stop // (2 * group))
        low, high = first * group, min(last * group, rows)
        merged = reference.interleave_weights(gate.read(low, high), up.read(low, high), group=group)
        return merged[start - 2 * low : stop - 2 * low, ...]

    return WeightValue((2 * group * -(-rows // group), *gate.shape[1:]), read)


def _columns_of(parts: tuple[WeightValue, ...]) -> Callable[[int, int], Array]:
    def read(start: int, stop: int) -> Array:
        return reference.concat_weights(tuple(part.read(start, stop) for part in parts), axis=1)

    return read


def _rows_of(parts: tuple[WeightValue, ...], firsts: list[int]) -> Callable[[int, int], Array]:
    def read(start: int, stop: int) -> Array:
        pieces = []
        for part, first in zip(parts, firsts, strict=False):
            low, high = max(start - first, 0), min(stop - first, part.shape[0])
            if low < high:
                pieces.append(part.read(low, high))
        return pieces[0] if len(pieces) == 1 else reference.concat_weights(tuple(pieces))

    return read
