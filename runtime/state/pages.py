"""Which pages are held, and by how many holders."""

from collections.abc import Callable, Iterable

import numpy as np

from sala_compile.runtime.errors import MemoryBudgetError


class PagePool:
    """Hands out the numbers 0..count-1. Each is free, or held once or several times.

    Invariant: the first `free` places of the free list are the pages with 0 holders. For each page
    it is known how many of its holders belong to a cache; `available` counts those that nobody else
    holds.
    """

    def __init__(self, name: str, count: int, on_free: Callable[[int], None] | None = None) -> None:
        """`name` is for messages; `on_free` receives every page whose last holder released it."""
        self.name = name
        self.count = count
        self.reclaim: Callable[[int], None] | None = None
        """Called to make so many pages free if fewer are; it may fail to."""
        self._on_free = on_free
        self._free = np.arange(count - 1, -1, -1, dtype=np.int32)
        self._free_count = count
        self._holders = np.zeros(count, np.int32)
        self._cached = np.zeros(count, np.int32)
        self._reclaimable = 0

    @property
    def free(self) -> int:
        """How many can be taken."""
        return self._free_count

    @property
    def used(self) -> int:
        """How many are held."""
        return self.count - self._free_count

    @property
    def available(self) -> int:
        """How many can be taken, what `reclaim` makes free included."""
        return self._free_count + self._reclaimable

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
        if number > self._free_count and self.reclaim is not None:
            self.reclaim(number)
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
            self._change(page, 1, 0)

    def cache(self, pages: Iterable[int]) -> None:
        """Note that one holder more of each page is a cache, which gives back by `reclaim`."""
        for page in pages:
            self._change(page, 0, 1)

    def uncache(self, pages: Iterable[int]) -> None:
        """Take such a note back, before the cache releases the pages."""
        for page in pages:
            assert self._cached[page] > 0, f"no cache holds {self.name} {page}"
            self._change(page, 0, -1)

    def release(self, pages: Iterable[int]) -> None:
        """Release each page once; those without a holder become free.

        The first of them is taken again first, so that whoever takes as many has them in the same
        order: memory is read faster in its order.
        """
        for page in reversed(list(pages)):
            assert self._holders[page] > 0, f"{self.name} {page} is free"
            self._change(page, -1, 0)
            if self._holders[page] == 0:
                self._free[self._free_count] = page
                self._free_count += 1
                if self._on_free is not None:
                    self._on_free(page)

    def _change(self, page: int, holders: int, cached: int) -> None:
        """Change how many hold a page, and how many of them belong to a cache."""
        before, cache = self._holders[page], self._cached[page]
        self._holders[page], self._cached[page] = before + holders, cache + cached
        assert cache + cached <= before + holders, f"a cache holds {self.name} {page}"
        was, now = 0 < cache == before, 0 < cache + cached == before + holders
        self._reclaimable += int(now) - int(was)

    def shared(self, pages: list[int]) -> int:
        """How many of these pages have more than one holder."""
        return int((self._holders[pages] > 1).sum())

    def is_left_with_caches(self, page: int) -> bool:
        """Whether caches alone hold a page once one of the other holders releases it."""
        return bool(self._holders[page] - self._cached[page] == 1)

    def holders(self, page: int) -> int:
        """How many hold the page."""
        return int(self._holders[page])


class PageTable:
    """The pages of every sequence, as the kernels read them: int32 [slots, pages of a sequence].

    Invariant: a page that is not yet full has one holder, who may write it; a full page never
    changes and may have any number of holders.
    """

    def __init__(
        self,
        pool: PagePool,
        table: np.ndarray,
        page_tokens: int,
        copy: Callable[[int, int], None] = lambda source, target: None,
    ) -> None:
        """`table` is written in place; a page of `pool` covers `page_tokens` tokens.

        `copy(source, target)` copies the contents of a page.
        """
        self.pool = pool
        self.page_tokens = page_tokens
        self._table = table
        self._copy = copy

    def covering(self, length: int) -> int:
        """How many pages `length` tokens fill, in part or whole."""
        return -(-length // self.page_tokens)

    def missing(self, owned: list[int], length: int) -> int:
        """How many pages are missing from `owned` for `length` tokens."""
        return max(0, self.covering(length) - len(owned))

    def require(self, owned: list[int], length: int) -> None:
        """Raise MemoryBudgetError unless `extend` would succeed."""
        self.pool.require(self.missing(owned, length))

    def extend(self, slot: int, owned: list[int], length: int) -> None:
        """Take the pages missing for `length` tokens, add them to `owned` and to the row `slot`."""
        missing = self.missing(owned, length)
        if missing == 0:
            return
        taken = self.pool.take(missing)
        self._table[slot, len(owned) : len(owned) + len(taken)] = taken
        owned += taken

    def partial(self, owned: list[int], length: int) -> int | None:
        """The page that `length` tokens fill in part, if they do."""
        return owned[length // self.page_tokens] if length % self.page_tokens else None

    def duplicate(self, page: int) -> int:
        """A new page with the contents of `page`; MemoryBudgetError if there is none."""
        copy = self.pool.take(1)[0]
        self._copy(page, copy)
        return copy

    def adopt(self, slot: int, full: list[int], partial: int | None) -> list[int]:
        """Hold the `full` pages once more and a copy of `partial`, in the row `slot`.

        All of it or, with MemoryBudgetError, nothing.
        """
        copy = None if partial is None else self.duplicate(partial)
        self.pool.share(full)
        owned = full if copy is None else [*full, copy]
        self._table[slot, : len(owned)] = owned
        return list(owned)

    def shortening(self, owned: list[int], length: int, partial: int | None) -> int:
        """How many pages `shorten` takes."""
        shared = partial is not None and self.pool.holders(owned[length // self.page_tokens]) > 1
        return int(shared)

    def shorten(self, slot: int, owned: list[int], length: int, partial: int | None) -> None:
        """Keep the pages of `length` tokens, of which the last gets the contents of `partial`.

        That one is overwritten if nobody else holds it, else replaced.
        """
        full = length // self.page_tokens
        kept: list[int] = []
        if partial is not None and self.pool.holders(owned[full]) == 1:
            self._copy(partial, owned[full])
            kept.append(owned.pop(full))
        elif partial is not None:
            kept.append(self.pool.take(1)[0])
            self._copy(partial, kept[0])
        self.pool.release(owned[full:])
        owned[full:] = kept
        self._table[slot, full : full + len(kept)] = kept

    def trim(self, owned: list[int], length: int) -> None:
        """Release the pages that `length` tokens do not begin."""
        self.pool.release(owned[self.covering(length) :])
        del owned[self.covering(length) :]

    def release(self, owned: list[int]) -> None:
        """Release all of `owned`, which is empty afterwards."""
        self.pool.release(owned)
        owned.clear()
