"""The pages of a sequence in every group of pages that the step has: all groups, or none."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial as bind

from sala_compile.runtime.artifact import Paging, pages_of
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.state.pages import PagePool, PageTable

Pages = dict[str, list[int]]
"""The pages that somebody holds, by group and in the order of the tokens."""
Partial = Mapping[str, int]
"""Copies of pages that are filled in part, by group; a group whose pages are full has none."""


def no_pages() -> Pages:
    """No pages of any group."""
    return defaultdict(list)


class PageGroups:
    """A pool and a table for each group. A method takes all the pages that it says, or none."""

    def __init__(self, memory: Memory, paging: Paging) -> None:
        """All pages are free."""
        self.tables: dict[str, PageTable] = {}
        for name, group in paging.groups.items():
            symbol = pages_of(name)
            on_free = bind(memory.poison_row, symbol) if memory.poison else None
            pool = PagePool(group.label, memory.plan.symbols[symbol], on_free)
            table, copy = memory.host(group.table), bind(memory.copy_row, symbol)
            self.tables[name] = PageTable(pool, table, group.tokens, copy)

    def pools(self) -> Iterator[tuple[str, PagePool]]:
        """The pool of every group."""
        return ((name, table.pool) for name, table in self.tables.items())

    def missing(self, owned: Pages, length: int) -> dict[str, int]:
        """How many pages are missing from `owned` for `length` tokens, by pool names."""
        tables = self.tables.items()
        return {table.pool.name: table.missing(owned[name], length) for name, table in tables}

    def extend(self, slot: int, owned: Pages, length: int) -> None:
        """Take the pages missing for `length` tokens, into `owned` and the tables' rows `slot`."""
        for name, table in self.tables.items():
            if table.missing(owned[name], length):
                break
        else:
            return  # as for nearly every decoded token
        for name, table in self.tables.items():
            table.require(owned[name], length)
        for name, table in self.tables.items():
            table.extend(slot, owned[name], length)

    def trim(self, owned: Pages, length: int) -> None:
        """Release the pages that `length` tokens do not begin."""
        for name, table in self.tables.items():
            table.trim(owned[name], length)

    def release(self, owned: Pages) -> None:
        """Release all of `owned`, which is empty afterwards."""
        for name, table in self.tables.items():
            table.release(owned[name])

    def full(self, owned: Pages, begin: int, end: int) -> Pages:
        """The pages that are full within `begin` to `end` tokens, of the pages `owned`."""
        found = no_pages()
        for name, table in self.tables.items():
            found[name] = owned[name][begin // table.page_tokens : end // table.page_tokens]
        return found

    def take(self, begin: int, end: int) -> Pages:
        """Hold free pages in place of those that are full within `begin` to `end` tokens."""
        numbers = {n: end // t.page_tokens - begin // t.page_tokens for n, t in self.tables.items()}
        for name, pool in self.pools():
            pool.require(numbers[name])
        taken = no_pages()
        taken.update({name: pool.take(numbers[name]) for name, pool in self.pools()})
        return taken

    def blank(self, length: int) -> dict[str, int]:
        """Pages for those that `length` tokens fill in part, without contents."""
        begun = [table.pool for table in self.tables.values() if length % table.page_tokens]
        for pool in begun:
            pool.require(1)
        tables = self.tables.items()
        return {n: t.pool.take(1)[0] for n, t in tables if length % t.page_tokens}

    def share(self, owned: Pages) -> None:
        """Hold pages once more."""
        for name, pool in self.pools():
            pool.share(owned[name])

    def duplicate(self, owned: Pages, length: int) -> dict[str, int]:
        """Copies of the pages that `length` tokens fill in part."""
        copies: dict[str, int] = {}
        try:
            for name, table in self.tables.items():
                page = table.partial(owned[name], length)
                if page is not None:
                    copies[name] = table.duplicate(page)
        except MemoryBudgetError:
            self.drop(copies)
            raise
        return copies

    def keep(self, partial: Partial) -> None:
        """Hold copies once more."""
        for name, page in partial.items():
            self.tables[name].pool.share([page])

    def drop(self, partial: Partial) -> None:
        """Release copies once."""
        for name, page in partial.items():
            self.tables[name].pool.release([page])

    def adopt(self, slot: int, owned: Pages, given: Pages, length: int) -> None:
        """Hold the pages of `length` tokens: full ones shared, begun ones copied.

        `given` are its pages, `owned` is empty before.
        """
        try:
            for name, table in self.tables.items():
                pages = given[name]
                full = pages[: length // table.page_tokens]
                owned[name] += table.adopt(slot, full, table.partial(pages, length))
        except MemoryBudgetError:
            self.release(owned)
            raise

    def shorten(self, slot: int, owned: Pages, length: int, partial: Partial) -> None:
        """Keep the pages of `length` tokens, the begun ones with the contents of `partial`."""
        for name, table in self.tables.items():
            copy = partial.get(name)
            table.pool.require(table.shortening(owned[name], length, copy))
        for name, table in self.tables.items():
            table.shorten(slot, owned[name], length, partial.get(name))
