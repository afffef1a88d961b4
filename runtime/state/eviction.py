"""Which kept prefix is of the least use: a heap whose keys may grow."""

import heapq
from collections.abc import Callable, Iterable
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")
Key = tuple[float, ...]


class EvictionQueue(Generic[Item]):
    """Items in the order of their keys. Of equal keys the first one that was added comes first.

    A key that has grown is found when the item comes up; one that has become smaller must be
    pushed again. An item without a key is not in the queue.
    """

    def __init__(self, key: Callable[[Item], Key | None], items: Callable[[], Iterable[Item]]):
        """`items` are all that can be in the queue, for when old places are swept out."""
        self._key = key
        self._items = items
        self._heap: list[tuple[Key, int, Item]] = []
        self._numbers: dict[int, int] = {}
        self._next = count()
        self._swept = 0

    def push(self, item: Item) -> None:
        """Add an item, or note that its key has become smaller."""
        key = self._key(item)
        if key is None:
            return
        number = self._numbers.setdefault(id(item), next(self._next))
        heapq.heappush(self._heap, (key, number, item))
        if len(self._heap) > 2 * self._swept + 64:
            self._sweep()

    def remove(self, item: Item) -> None:
        """Note that an item is gone; its key is None from now on."""
        self._numbers.pop(id(item), None)

    def pop(self, kept: Item | None = None) -> Item | None:
        """Take the first item out, but for the one that is `kept`; None if there is no other."""
        aside: list[tuple[Key, int, Item]] = []
        found: Item | None = None
        while self._heap and found is None:
            key, number, item = self._heap[0]
            now = self._key(item)
            if now is not None and now > key:
                heapq.heapreplace(self._heap, (now, number, item))
                continue
            heapq.heappop(self._heap)
            if now is None or now < key:
                continue  # gone, or pushed again with its smaller key
            if item is kept:
                aside.append((key, number, item))
            else:
                found = item
        for place in aside:
            heapq.heappush(self._heap, place)
        return found

    def _sweep(self) -> None:
        """Keep one place for each item."""
        self._heap = []
        for item in self._items():
            key = self._key(item)
            if key is not None:
                number = self._numbers.setdefault(id(item), next(self._next))
                self._heap.append((key, number, item))
        heapq.heapify(self._heap)
        self._swept = len(self._heap)
