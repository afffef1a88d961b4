"""A prefix on its way from disk into pages and a snapshot."""

from contextlib import ExitStack

from sala_compile.runtime.serving.kept.kept_index import KeptState
from sala_compile.runtime.serving.kept.kept_rows import KeptRows
from sala_compile.runtime.serving.kept.prefix_reader import PrefixReading
from sala_compile.runtime.state.lower_tier import Restore
from sala_compile.runtime.state.page_groups import Pages
from sala_compile.runtime.state.store import Snapshot, StateStore
from sala_compile.runtime.state.stored_rows import RowPiece


class PrefixRecall:
    """Holds the rows of a prefix until they are filled. For the thread that owns the engine."""

    def __init__(
        self,
        state: KeptState,
        base: tuple[int, Pages],
        store: StateStore,
        rows: KeptRows,
        restore: Restore,
    ) -> None:
        """Take rows for what follows the `base`: tokens that memory has, and their full pages.

        The base ends where one of the files of pages does. MemoryBudgetError if rows are missing;
        nothing is held then.
        """
        self.state = state
        self.restore = restore
        self.finished = False
        self._store = store
        self._rows = rows
        begin, shared = base
        header = state.header
        with ExitStack() as undo:
            self.pages = store.groups.full(shared, 0, begin)
            store.groups.share(self.pages)
            undo.callback(store.groups.release, self.pages)
            for name, more in store.groups.take(begin, header.end).items():
                self.pages[name] += more
            self.snapshot: Snapshot = store.blank_snapshot(header.end)
            undo.pop_all()
        files = [each.header for each in state.ancestry() if each.header.end > begin]
        self.reading = PrefixReading([*files, header])
        pieces = [piece for each in self.reading.files for piece in rows.of_file(each)]
        self._pieces = [None, *reversed(pieces)]
        self._next: RowPiece | None = self._pieces.pop()

    def advance(self, budget: int) -> int:
        """Write pieces that were read, as long as the budget lasts; how much of it is left."""
        while budget > 0 and self._next is not None:
            data = self.reading.take()
            if data is None:
                break
            self._rows.write(self._next, data, self.pages, self.snapshot)
            budget -= len(data)
            self._next = self._pieces.pop()
        return budget

    @property
    def is_whole(self) -> bool:
        """Whether every row is there."""
        return self._next is None and self.reading.ended and self.reading.error is None

    @property
    def is_damaged(self) -> bool:
        """Whether a file ended too early, or has other contents than it should."""
        return self.reading.ended and self.reading.error is not None

    def give_up(self) -> None:
        """Release everything, the snapshot too."""
        self.reading.given_up = True
        self._store.drop_snapshot(self.snapshot)
        self.release_pages()

    def release_pages(self) -> None:
        """Release the pages, which others hold if they are of use; that is the end."""
        self._store.groups.release(self.pages)
        self.finished = True
