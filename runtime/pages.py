"""Which pages are taken, and by how many."""

from collections.abc import Callable, Iterable

import numpy as np

from runtime.errors import MemoryBudgetError


class PagePool:
    """Hands out the numbers 0..count-1. Each is free, or held once or several times.

    Invariant: a page is in the free list exactly if its count of holders is 0.
    """

    def __init__(self, name: str, count: int, on_free: Callable[[int], None] | None = None) -> None:
        """`name` is for messages; `on_free` is told every page whose last holder let go."""
        self.name = name
        self.count = count
        self._on_free = on_free
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count

    @property
    def free(self) -> int:
        """How many can be taken."""
        return len(self._free)

    @property
    def used(self) -> int:
        """How many are held."""
        return self.count - len(self._free)

    def take(self, number: int) -> list[int]:
        """Hold `number` free pages; all of them or, with MemoryBudgetError, none."""
        if number > len(self._free):
            raise MemoryBudgetError(
                f"{number} {self.name} are needed and {len(self._free)} are free",
                expected=f"at most {self.count} in use at a time",
                fix="close sequences that are done, or load with more memory, context or batch",
            )
        taken = [self._free.pop() for _ in range(number)]
        for page in taken:
            self._holders[page] = 1
        return taken

    def share(self, pages: Iterable[int]) -> None:
        """Hold pages once more that somebody holds already."""
        for page in pages:
            assert self._holders[page] > 0, f"{self.name} {page} is free"
            self._holders[page] += 1

    def release(self, pages: Iterable[int]) -> None:
        """Let go of each page once; those without a holder become free."""
        for page in pages:
            assert self._holders[page] > 0, f"{self.name} {page} is free"
            self._holders[page] -= 1
            if self._holders[page] == 0:
                self._free.append(page)
                if self._on_free is not None:
                    self._on_free(page)

    def holders(self, page: int) -> int:
        """How many hold the page."""
        return self._holders[page]


class PageTable:
    """The pages of every sequence, as the kernels read them: int32 [slots, pages of a sequence]."""

    def __init__(self, pool: PagePool, table: np.ndarray, page_tokens: int) -> None:
        """`table` is written in place; a page of `pool` covers `page_tokens` tokens."""
        self.pool = pool
        self._table = table
        self._page_tokens = page_tokens

    def missing(self, owned: list[int], length: int) -> int:
        """How many pages a sequence that owns `owned` lacks for `length` tokens."""
        return max(0, -(-length // self._page_tokens) - len(owned))

    def extend(self, slot: int, owned: list[int], length: int) -> None:
        """Take what `length` tokens lack, add it to `owned` and to the row `slot`."""
        taken = self.pool.take(self.missing(owned, length))
        self._table[slot, len(owned) : len(owned) + len(taken)] = taken
        owned += taken

    def release(self, owned: list[int]) -> None:
        """Let go of all of `owned`, which is empty afterwards."""
        self.pool.release(owned)
        owned.clear()
