"""Which pages are taken, and by how many."""

from collections.abc import Callable, Iterable

import numpy as np

from runtime.errors import MemoryBudgetError


class PagePool:
    """Hands out the numbers 0..count-1. Each is free, or held once or several times.

    Invariant: the first `free` places of the free list are the pages with 0 holders.
    """

    def __init__(self, name: str, count: int, on_free: Callable[[int], None] | None = None) -> None:
        """`name` is for messages; `on_free` is told every page whose last holder let go."""
        self.name = name
        self.count = count
        self._on_free = on_free
        self._free = np.arange(count - 1, -1, -1, dtype=np.int32)
        self._free_count = count
        self._holders = np.zeros(count, np.int32)

    @property
    def free(self) -> int:
        """How many can be taken."""
        return self._free_count

    @property
    def used(self) -> int:
        """How many are held."""
        return self.count - self._free_count

    def take(self, number: int) -> list[int]:
        """Hold `number` free pages; all of them or, with MemoryBudgetError, none."""
        self.require(number)
        left = self._free_count - number
        taken = self._free[left : self._free_count][::-1].tolist()
        self._free_count = left
        self._holders[taken] = 1
        return taken

    def require(self, number: int) -> None:
        """Raise MemoryBudgetError unless `number` can be taken."""
        if number > self._free_count:
            raise MemoryBudgetError(
                f"{number} {self.name} are needed and {self._free_count} are free",
                expected=f"at most {self.count} in use at a time",
                fix="close sequences that are done, or load with more memory, context or batch",
            )

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
                self._free[self._free_count] = page
                self._free_count += 1
                if self._on_free is not None:
                    self._on_free(page)

    def holders(self, page: int) -> int:
        """How many hold the page."""
        return int(self._holders[page])


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

    def require(self, owned: list[int], length: int) -> None:
        """Raise MemoryBudgetError unless `extend` would succeed."""
        self.pool.require(self.missing(owned, length))

    def extend(self, slot: int, owned: list[int], length: int) -> None:
        """Take what `length` tokens lack, add it to `owned` and to the row `slot`."""
        missing = self.missing(owned, length)
        if missing == 0:
            return
        taken = self.pool.take(missing)
        self._table[slot, len(owned) : len(owned) + len(taken)] = taken
        owned += taken

    def release(self, owned: list[int]) -> None:
        """Let go of all of `owned`, which is empty afterwards."""
        self.pool.release(owned)
        owned.clear()
