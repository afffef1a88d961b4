"""The inputs of a step, from the host's arrays to a GPU."""

from collections.abc import Collection, Iterable

import numpy as np

from sala_compile.runtime.artifact import ValueKind, align
from sala_compile.runtime.devices.cuda.driver import Driver
from sala_compile.runtime.plan import LAST_LOGITS, MemoryPlan


class Inputs:
    """The program's inputs, which are one after another in a plan, tables last.

    The host writes `arrays`, at any time. What was sent is in memory that the GPU copies from
    by itself, and is changed only when it was copied.
    """

    def __init__(
        self, driver: Driver, stream: int, plan: MemoryPlan, base: int, tables: Collection[str]
    ) -> None:
        """For a plan whose memory begins at `base` on the GPU, where the inputs are 0.

        `tables` names the page tables among them, of which only what changed is sent.
        """
        places = {
            name: place
            for name, place in plan.places.items()
            if place.value.kind is ValueKind.INPUT and name != LAST_LOGITS
        }
        begin = min(place.offset for place in places.values())
        end = max(place.offset + align(place.size) for place in places.values())
        self._driver = driver
        self._stream = stream
        self._target = base + begin
        self._batch_bytes = min((places[name].offset for name in tables), default=end) - begin
        self._written = np.zeros(end - begin, np.uint8)
        self._sent = driver.allocate_host(end - begin)
        self._sent[:] = 0
        self._copied = driver.event()
        self.arrays: dict[str, np.ndarray] = {}
        self._tables: list[tuple[np.ndarray, np.ndarray]] = []
        for name, place in places.items():
            span = slice(place.offset - begin, place.offset - begin + place.size)
            views = [
                block[span].view(place.value.dtype.numpy).reshape(place.shape)
                for block in (self._written, self._sent)
            ]
            self.arrays[name] = views[0]
            if name in tables:
                self._tables.append((views[0], views[1]))

    @property
    def nbytes(self) -> int:
        """Bytes of host memory held."""
        return self._written.nbytes + self._sent.nbytes

    def send(self, slots: Iterable[int]) -> None:
        """Queue a copy of the batch, and of what changed in the tables' rows `slots`."""
        self._driver.wait(self._copied)
        self._sent[: self._batch_bytes] = self._written[: self._batch_bytes]
        self._copy(0, self._batch_bytes)
        for slot in slots:
            for written, sent in self._tables:
                self._send_row(written[slot], sent[slot])
        self._driver.record(self._copied, self._stream)

    def close(self) -> None:
        """Release the memory that the GPU copies from."""
        self._driver.destroy_event(self._copied)
        self._driver.free_host(self._sent)

    def _send_row(self, written: np.ndarray, sent: np.ndarray) -> None:
        changed = np.flatnonzero(written != sent)
        if len(changed):
            first, last = int(changed[0]), int(changed[-1]) + 1
            sent[first:last] = written[first:last]
            begin = sent.ctypes.data - self._sent.ctypes.data + first * sent.itemsize
            self._copy(begin, (last - first) * sent.itemsize)

    def _copy(self, begin: int, size: int) -> None:
        source = self._sent.ctypes.data + begin
        self._driver.copy_in(self._target + begin, source, size, self._stream)
