"""An entry of the prefix cache that is copied, piece by piece, for the thread that writes."""

from collections.abc import Callable, Sequence

from sala_compile.runtime.serving.kept.kept_rows import KeptRows
from sala_compile.runtime.serving.kept.prefix_writer import PrefixWriter, PrefixWriting
from sala_compile.runtime.state.page_groups import Pages
from sala_compile.runtime.state.prefix_tree import Entry
from sala_compile.runtime.state.stored_rows import RowPiece


class PrefixSending:
    """What is left of an entry to be copied. For the thread that owns the engine."""

    def __init__(
        self,
        entry: Entry,
        writing: PrefixWriting,
        pieces: Sequence[RowPiece],
        writer: PrefixWriter,
        rows: KeptRows,
        pages_of: Callable[[Entry], Pages],
    ) -> None:
        """For `pieces` in the order of the files; `pages_of` gives an entry's as they are now."""
        self.entry = entry
        self.writing = writing
        self._items: list[PrefixWriting | RowPiece | bool] = [True, *reversed(pieces), writing]
        self._writer = writer
        self._rows = rows
        self._pages_of = pages_of

    @property
    def finished(self) -> bool:
        """Whether the writer is done with it."""
        return self.writing.finished

    def give_up(self) -> None:
        """Copy no more: the rows are others' from now on."""
        if self._items and self._items[-1] is self.writing:
            self._items, self.writing.finished = [], True  # the writer has not heard of it
        elif self._items:
            self._items = [False]

    def advance(self, budget: int) -> int:
        """Copy as long as the budget lasts and the writer has room; how much is left."""
        if self.writing.failed:
            self.give_up()
        pages: Pages | None = None
        while budget > 0 and self._items and self._writer.has_room:
            item = self._items.pop()
            if isinstance(item, RowPiece):
                pages = self._pages_of(self.entry) if pages is None else pages
                budget -= item.nbytes
                self._writer.put(self._rows.read(item, pages, self.entry.snapshot))
            else:
                budget -= 1
                self._writer.put(item)
        return budget
