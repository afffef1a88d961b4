"""Rows of a buffer to the host and back, through host memory that the GPU reaches by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from sala_compile.runtime.devices.cuda.driver import Driver

ROOM_BYTES = 4 << 20
"""Bytes that are moved at a time, about."""


@dataclass(frozen=True, slots=True)
class DeviceBuffer:
    """A value on the GPU: where it begins, and its rows."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return prod(self.shape[1:]) * self.dtype.itemsize


class Transfer:
    """Moves rows and waits for them; what was queued before is done first."""

    def __init__(self, driver: Driver, stream: int, largest_row: int) -> None:
        """With room for rows of up to `largest_row` bytes."""
        self._driver = driver
        self._stream = stream
        self._room = driver.allocate_host(max(ROOM_BYTES, largest_row))

    @property
    def nbytes(self) -> int:
        """Bytes of host memory held."""
        return self._room.nbytes

    def read(self, buffer: DeviceBuffer, rows: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Numbers of rows and the rows, some at a time, valid until the next request."""
        for first, group in self._groups(buffer, rows):
            for place, begin, count in _runs(group):
                source = buffer.address + begin * buffer.row_bytes
                target = self._room.ctypes.data + place * buffer.row_bytes
                size = count * buffer.row_bytes
                self._driver.copy_out(target, source, size, self._stream)
            self._driver.synchronize(self._stream)
            yield first, self._view(buffer, len(group))

    def write(self, buffer: DeviceBuffer, rows: Sequence[int], values: np.ndarray) -> None:
        """Overwrite rows."""
        for first, group in self._groups(buffer, rows):
            self._view(buffer, len(group))[...] = values[first : first + len(group)]
            for place, begin, count in _runs(group):
                target = buffer.address + begin * buffer.row_bytes
                source = self._room.ctypes.data + place * buffer.row_bytes
                size = count * buffer.row_bytes
                self._driver.copy_in(target, source, size, self._stream)
            self._driver.synchronize(self._stream)

    def close(self) -> None:
        """Release the memory."""
        self._driver.free_host(self._room)

    def _groups(
        self, buffer: DeviceBuffer, rows: Sequence[int]
    ) -> Iterator[tuple[int, Sequence[int]]]:
        """As many rows as there is room for, and the number of the first."""
        step = max(1, len(self._room) // max(1, buffer.row_bytes))
        for first in range(0, len(rows), step):
            yield first, rows[first : first + step]

    def _view(self, buffer: DeviceBuffer, count: int) -> np.ndarray:
        flat = self._room[: count * buffer.row_bytes].view(buffer.dtype)
        return flat.reshape(count, *buffer.shape[1:])


def _runs(rows: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Neighbouring rows joined: place of the first among `rows`, its number, how many."""
    begin = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1:
            yield begin, rows[begin], place - begin
            begin = place
