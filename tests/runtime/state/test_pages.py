"""The page allocator against a model that only counts holders."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.state.pages import PagePool, PageTable

COUNT = 12


class PagePoolMachine(RuleBasedStateMachine):
    """Random taking, sharing and releasing."""

    def __init__(self) -> None:
        super().__init__()
        self.freed: list[int] = []
        self.pool = PagePool("pages", COUNT, self.freed.append)
        self.held: list[list[int]] = []

    @rule(number=st.integers(0, COUNT + 2))
    def take(self, number: int) -> None:
        free = self.pool.free
        if number > free:
            with pytest.raises(MemoryBudgetError):
                self.pool.take(number)
            assert self.pool.free == free
            return
        self.held.append(self.pool.take(number))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        pages = data.draw(st.sampled_from(self.held))
        self.pool.share(pages)
        self.held.append(list(pages))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        pages = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.freed.clear()
        self.pool.release(pages)
        others = {page for group in self.held for page in group}
        assert sorted(self.freed) == sorted(set(pages) - others)

    @invariant()
    def counts_agree(self) -> None:
        counted = [sum(group.count(page) for group in self.held) for page in range(COUNT)]
        assert [self.pool.holders(page) for page in range(COUNT)] == counted
        assert self.pool.used == sum(count > 0 for count in counted)


PagePoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPagePool = PagePoolMachine.TestCase


def test_a_row_of_the_table_lists_the_pages_in_order():
    table = np.full((2, 5), -1, np.int32)
    pages = PageTable(PagePool("pages", 6), table, 4)
    owned: list[int] = []
    pages.extend(1, owned, 4)
    pages.extend(1, owned, 4)
    assert len(owned) == 1
    pages.extend(1, owned, 9)
    assert table[1].tolist() == [*owned, -1, -1]
    assert table[0].tolist() == [-1] * 5
    pages.release(owned)
    assert (owned, pages.pool.used) == ([], 0)


def test_pages_are_taken_in_the_order_of_memory_again_after_a_release():
    """At once or one by one: whoever reads them reads memory in its order."""
    pages = PageTable(PagePool("pages", 8), np.zeros((1, 8), np.int32), 4)
    for lengths in ((32,), range(1, 33), (32,), (13, 32)):
        owned: list[int] = []
        for length in lengths:
            pages.extend(0, owned, length)
        assert owned == list(range(8))
        pages.trim(owned, 9)
        pages.release(owned)
