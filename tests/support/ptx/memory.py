"""Memory that records who wrote and read each byte, so that accesses without order are found.

Warps are ordered by the barriers between them, blocks by a release and an acquire of one address
(an atomic operation). A byte that is accessed without such an order by two of them, one writing,
is a race, whatever value comes out.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

GLOBAL_BASE = 1 << 40
"""Address of the first byte of global memory."""
WARP = 32
_NOBODY, _SEVERAL = -1, -2
_UNWRITTEN = 0xA5
_GAP = 512
"""Bytes between buffers that belong to none."""
_ALIGNMENT = 256


class AccessError(Exception):
    """An address that is in no buffer, or no multiple of the access's size."""


@dataclass(slots=True)
class Report:
    """What a run did that hardware may punish: (what, the instruction) -> how often."""

    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    text: str = ""

    def note(self, what: str) -> None:
        """Count a fault of the instruction that is executed."""
        self.faults[what, self.text] += 1


@dataclass(slots=True)
class Actor:
    """A block as memory sees it: which one, how many barriers it has passed, and the time.

    `barrier_time` is the time of the last barrier. `known` are the writes of other blocks that are
    ordered before: block -> what it had written when it released.
    """

    block: int
    clock: "Clock"
    epoch: int = 0
    barrier_time: int = 0
    known: dict[int, "Known"] = field(default_factory=dict)

    def barrier(self) -> None:
        """Order what the warps did before what they do now."""
        self.epoch += 1
        self.barrier_time = self.clock.time


@dataclass(slots=True)
class Clock:
    """Counts the instructions of a launch."""

    time: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """What a block had written when a warp of it released: up to a barrier, or by that warp."""

    barrier_time: int
    warp: int
    time: int


@dataclass(frozen=True, slots=True)
class Known:
    """A release that a warp acquired; the others of its block know of it after a barrier."""

    release: Release
    warp: int
    epoch: int


class GlobalMemory:
    """The buffers of a kernel, apart from each other, and who touched them in this launch."""

    def __init__(self, buffers: Mapping[str, np.ndarray], report: Report) -> None:
        """Copy the buffers in; equal ones under two names are placed once."""
        self._report = report
        self._offsets: dict[tuple[int, int], int] = {}
        self._buffers = dict(buffers)
        end = _ALIGNMENT
        for array in buffers.values():
            if _identity(array) not in self._offsets:
                self._offsets[_identity(array)] = end
                end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT + _GAP
        self.bytes = np.full(end, _UNWRITTEN, np.uint8)
        self._inside = np.zeros(end, bool)
        for array in buffers.values():
            place = self._place(array)
            self.bytes[place] = array.reshape(-1).view(np.uint8)
            self._inside[place] = True
        self.begin()

    def begin(self) -> None:
        """Forget who touched what: launches of a stream are ordered."""
        size = len(self.bytes)
        self._writer = np.full(size, _NOBODY, np.int32)
        self._writer_warp = np.full(size, _NOBODY, np.int32)
        self._write_epoch = np.full(size, _NOBODY, np.int32)
        self._write_time = np.zeros(size, np.int64)
        self._reader = np.full(size, _NOBODY, np.int32)
        self._releases: dict[int, dict[int, Release]] = {}

    def address(self, name: str) -> int:
        """Where a buffer begins."""
        return GLOBAL_BASE + self._offsets[_identity(self._buffers[name])]

    def copy_out(self) -> None:
        """Copy the buffers back; AssertionError where something between them changed."""
        assert (self.bytes[~self._inside] == _UNWRITTEN).all(), "a kernel wrote beside a buffer"
        for array in self._buffers.values():
            array.reshape(-1).view(np.uint8)[...] = self.bytes[self._place(array)]

    def read(
        self, actor: Actor, addresses: np.ndarray, size: int, threads: np.ndarray
    ) -> np.ndarray:
        """Bytes [len(threads), size] at the addresses of threads; `addresses` is of all threads."""
        index = self._index(addresses[threads], size)
        self._check_read(actor, index, threads // WARP)
        readers = self._reader[index]
        same = (readers == _NOBODY) | (readers == actor.block)
        self._reader[index] = np.where(same, actor.block, _SEVERAL)
        return self.bytes[index]

    def write(
        self, actor: Actor, addresses: np.ndarray, raw: np.ndarray, threads: np.ndarray
    ) -> None:
        """Store bytes [len(threads), size]; of two threads with one address the last wins."""
        index = self._index(addresses[threads], raw.shape[1])
        writers, readers = self._writer[index], self._reader[index]
        foreign = (writers != _NOBODY) & (writers != actor.block)
        # Equal values from two blocks are what the memory holds afterwards in any order.
        if (foreign & (self.bytes[index] != raw)).any():
            self._report.note("two blocks write one address")
        if ((readers != _NOBODY) & (readers != actor.block)).any():
            self._report.note("a block writes what another one read")
        self._writer[index] = actor.block
        warps = threads[:, None] // WARP
        mine = (writers == actor.block) & (self._write_epoch[index] == actor.epoch)
        if (mine & (self._writer_warp[index] != warps) & (self.bytes[index] != raw)).any():
            self._report.note("two warps write global memory, no barrier between")
        self._writer_warp[index] = warps
        self._write_epoch[index] = actor.epoch
        self._write_time[index] = actor.clock.time
        self.bytes[index] = raw
        _check_order(self.bytes[index], raw, self._report)

    def update(
        self, actor: Actor, address: int, raw: np.ndarray, thread: int, *, orders: bool
    ) -> None:
        """Store the result of an atomic operation; with `orders` it releases and acquires."""
        place = self._index(np.array([address], np.uint64), len(raw))[0]
        self.bytes[place] = raw
        if not orders:
            return
        warp, releases = thread // WARP, self._releases.setdefault(address, {})
        for block, release in releases.items():
            if block != actor.block:
                actor.known[block] = Known(release, warp, actor.epoch)
        releases[actor.block] = Release(actor.barrier_time, warp, actor.clock.time)

    def value(self, address: int, size: int) -> np.ndarray:
        """The bytes at an address, for an atomic operation."""
        return self.bytes[self._index(np.array([address], np.uint64), size)[0]]

    def _check_read(self, actor: Actor, index: np.ndarray, warps: np.ndarray) -> None:
        writers = self._writer[index]
        mine = (writers == actor.block) & (self._write_epoch[index] == actor.epoch)
        if (mine & (self._writer_warp[index] != warps[:, None])).any():
            self._report.note("a warp reads global memory that another one wrote, no barrier since")
        rows, columns = np.nonzero((writers != _NOBODY) & (writers != actor.block))
        for row, place in zip(rows, index[rows, columns], strict=True):
            if not self._ordered(actor, place, warps[row]):
                self._report.note("a block reads what another one wrote")
                return

    def _ordered(self, actor: Actor, place: int, warp: int) -> bool:
        """Whether the write of another block to a byte is known to a warp."""
        known = actor.known.get(int(self._writer[place]))
        if known is None or (known.warp != warp and known.epoch == actor.epoch):
            return False
        release, time = known.release, self._write_time[place]
        by_it = release.warp == self._writer_warp[place] and time <= release.time
        return bool(time <= release.barrier_time or by_it)

    def _index(self, addresses: np.ndarray, size: int) -> np.ndarray:
        offsets = (addresses - np.uint64(GLOBAL_BASE)).astype(np.int64)
        index = offsets[:, None] + np.arange(size)
        if not len(offsets):
            return index
        if index.min() < 0 or index.max() >= len(self.bytes) or not self._inside[index].all():
            raise AccessError(f"{size} bytes of global memory outside of the buffers")
        if (offsets % size).any():
            raise AccessError(f"{size} bytes at an address of global memory that is no multiple")
        return index

    def _place(self, array: np.ndarray) -> slice:
        begin = self._offsets[_identity(array)]
        return slice(begin, begin + array.nbytes)


def _check_order(stored: np.ndarray, given: np.ndarray, report: Report) -> None:
    """Threads that store equal values at once leave them; of others any one may be the last."""
    if (stored != given).any():
        report.note("threads store different values to one address at once")


def _identity(array: np.ndarray) -> tuple[int, int]:
    return array.ctypes.data, array.nbytes


class SharedMemory:
    """The shared memory of a block, and which warp touched each byte since the last barrier.

    `unfenced` are bytes that ordinary instructions wrote and no fence has shown to the
    asynchronous proxy, through which wgmma reads; `in_flight` are those that a matrix instruction
    may still read, because nobody waited for it.
    """

    FILL = 0xCD

    def __init__(self, size: int, report: Report) -> None:
        """`size` bytes that nobody wrote yet."""
        size = max(size, 16)
        self._report = report
        self.bytes = np.full(size, self.FILL, np.uint8)
        self._writer = np.full(size, _NOBODY, np.int32)
        self._write_epoch = np.full(size, _NOBODY, np.int32)
        self._reader = np.full(size, _NOBODY, np.int32)
        self._read_epoch = np.full(size, _NOBODY, np.int32)
        self.unfenced = np.zeros(size, bool)
        self.in_flight = np.zeros(size, bool)

    def read(
        self, actor: Actor, addresses: np.ndarray, size: int, threads: np.ndarray
    ) -> np.ndarray:
        """Bytes [len(threads), size]."""
        index = self._index(addresses[threads], size)
        warps = threads[:, None] // WARP
        written = (self._write_epoch[index] == actor.epoch) & (self._writer[index] != warps)
        if written.any():
            self._report.note("a warp reads shared memory that another one wrote, no barrier since")
        fresh, readers = self._read_epoch[index] != actor.epoch, self._reader[index]
        self._reader[index] = np.where(fresh | (readers == warps), warps, _SEVERAL)
        self._read_epoch[index] = actor.epoch
        return self.bytes[index]

    def write(
        self, actor: Actor, addresses: np.ndarray, raw: np.ndarray, threads: np.ndarray
    ) -> None:
        """Store bytes [len(threads), size]."""
        index = self._index(addresses[threads], raw.shape[1])
        warps = threads[:, None] // WARP
        read = (self._read_epoch[index] == actor.epoch) & (self._reader[index] != warps)
        if read.any():
            self._report.note("a warp writes shared memory that another one read, no barrier since")
        written = (self._write_epoch[index] == actor.epoch) & (self._writer[index] != warps)
        if written.any():
            self._report.note("two warps write shared memory, no barrier between")
        if self.in_flight[index].any():
            self._report.note("shared memory is written that wgmma may still read")
        self._writer[index], self._write_epoch[index] = warps, actor.epoch
        self.unfenced[index] = True
        self.bytes[index] = raw
        _check_order(self.bytes[index], raw, self._report)

    def read_matrix(self, actor: Actor, index: np.ndarray, group: int) -> np.ndarray:
        """Bytes that a warpgroup's matrix instruction reads through the asynchronous proxy."""
        if index.max() >= len(self.bytes):
            raise AccessError("a matrix instruction reads outside of shared memory")
        foreign = self._writer[index] // 4 != group
        if ((self._write_epoch[index] == actor.epoch) & foreign).any():
            self._report.note("wgmma reads what another warpgroup wrote, no barrier since")
        if self.unfenced[index].any():
            self._report.note("wgmma reads what no fence has shown to the asynchronous proxy")
        return self.bytes[index]

    def _index(self, addresses: np.ndarray, size: int) -> np.ndarray:
        offsets = addresses.astype(np.int64)
        index = offsets[:, None] + np.arange(size)
        if len(offsets) and index.max() >= len(self.bytes):
            raise AccessError(f"{size} bytes outside of shared memory")
        if (offsets % size).any():
            raise AccessError(f"{size} bytes at an address of shared memory that is no multiple")
        return index
