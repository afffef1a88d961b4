"""Packing of buffers that live for a while into one arena."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sala_compile.runtime.artifact.format_model import align

ROUNDS = 24
"""Attempts at a smaller total once the plain orders are tried."""
Range = tuple[int, int]
"""Bytes of the arena that a buffer takes: the first, and the one after the last."""


@dataclass(frozen=True, slots=True)
class ArenaBuffer:
    """`size` bytes, needed from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each buffer begins, in bytes from the start of the arena.

    `total` is the size of the arena; `lower_bound` the largest sum of buffers alive at one step,
    which no packing can beat.
    """

    buffers: tuple[ArenaBuffer, ...]
    offsets: Mapping[str, int]
    total: int
    lower_bound: int


def pack(buffers: Iterable[ArenaBuffer]) -> Packing:
    """Place the buffers at multiples of 64 bytes so that those alive together do not overlap.

    The same buffers always get the same places. Several orders are tried, each placing a buffer
    into the tightest gap that it fits; then the buffers that stick out are moved to the front.
    """
    return _pack(tuple(sorted(buffers, key=lambda buffer: buffer.name)))


@lru_cache(maxsize=64)
def _pack(buffers: tuple[ArenaBuffer, ...]) -> Packing:
    packer = _Packer(buffers)
    bound = packer.lower_bound()
    best = min(_attempts(packer, bound), key=lambda attempt: attempt.total)
    offsets = {buffer.name: int(best.offsets[index]) for index, buffer in enumerate(buffers)}
    return Packing(buffers, offsets, best.total, bound)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The offsets that an order led to, and the total."""

    order: np.ndarray
    offsets: np.ndarray
    total: int


def _attempts(packer: "_Packer", bound: int) -> Iterator[_Attempt]:
    """Attempts up to one that cannot be beaten: plain orders, then improvements of the best."""
    best: _Attempt | None = None
    for order in packer.orders():
        attempt = packer.attempt(order)
        yield attempt
        if attempt.total <= bound:
            return
        if best is None or attempt.total < best.total:
            best = attempt
    assert best is not None, "there is at least one order"
    for _ in range(ROUNDS):
        best = packer.attempt(packer.promote(best))
        yield best
        if best.total <= bound:
            return


def lower_bound(buffers: Iterable[ArenaBuffer]) -> int:
    """The largest sum of buffers alive at one step, in bytes."""
    return _Packer(tuple(buffers)).lower_bound()


def peak(size: np.ndarray, first: np.ndarray, last: np.ndarray) -> int:
    """The largest sum of sizes alive at one step, each from step `first` to step `last`."""
    changes = np.zeros(int(last.max(initial=-1)) + 2, np.int64)
    np.add.at(changes, first, size)
    np.add.at(changes, last + 1, -size)
    return int(np.cumsum(changes).max(initial=0))


class _Packer:
    """The buffers as arrays; an order is an array of their indices."""

    def __init__(self, buffers: Sequence[ArenaBuffer]) -> None:
        self.size = np.array([align(buffer.size) for buffer in buffers], np.int64)
        self.first = np.array([buffer.first for buffer in buffers], np.int64)
        self.last = np.array([buffer.last for buffer in buffers], np.int64)

    def lower_bound(self) -> int:
        """The largest sum of sizes alive at one step."""
        return peak(self.size, self.first, self.last)

    def orders(self) -> list[np.ndarray]:
        """Plain orders: by size, by area, by time, by length."""
        length = self.last - self.first + 1
        keys: list[tuple[np.ndarray, ...]] = [
            (self.first, -self.size),
            (self.first, -self.size * length),
            (-self.size, self.first),
            (-self.last, self.first),
            (-self.size, -length),
        ]
        return [np.lexsort(key) for key in keys]

    def attempt(self, order: np.ndarray) -> _Attempt:
        """What placing the buffers in this order leads to."""
        offsets = self.place(order)
        return _Attempt(order, offsets, int((offsets + self.size).max(initial=0)))

    def place(self, order: np.ndarray) -> np.ndarray:
        """The offset of every buffer when they are placed in this order."""
        offsets = np.zeros(len(self.size), np.int64)
        taken: list[list[Range]] = [[] for _ in range(int(self.last.max(initial=-1)) + 1)]
        columns = (order, self.size[order], self.first[order], self.last[order] + 1)
        for index, size, first, end in zip(*(each.tolist() for each in columns), strict=True):
            steps = taken[first:end]
            begin = _tightest_gap(sorted({each for step in steps for each in step}), size)
            offsets[index] = begin
            for step in steps:
                step.append((begin, begin + size))
        return offsets

    def promote(self, attempt: _Attempt) -> np.ndarray:
        """The order of the attempt with the buffers that end highest placed first."""
        ends = (attempt.offsets + self.size)[attempt.order]
        highest = ends == attempt.total
        return np.concatenate([attempt.order[highest], attempt.order[~highest]])


def _tightest_gap(taken: Sequence[Range], size: int) -> int:
    """The start of the smallest gap of at least `size`, else the end of everything."""
    if not size:
        return 0
    best, least, covered = None, 0, 0
    for begin, end in taken:
        gap = begin - covered
        if gap >= size and (best is None or gap < least):
            best, least = covered, gap
        covered = max(covered, end)
    return covered if best is None else best


def largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest n in 0..limit for which `fits` holds, if it holds below some n and not above.

    The answer is 0 or a number for which `fits` was seen to hold.
    """
    low, high = 0, 1
    while high <= limit and fits(high):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
