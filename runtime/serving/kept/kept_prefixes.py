"""The lower tier of a prefix cache: entries go to disk as they are kept, and come back."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.kept.entry_files import EntryFiles
from sala_compile.runtime.serving.kept.kept_file import damaged
from sala_compile.runtime.serving.kept.kept_index import KeptState
from sala_compile.runtime.serving.kept.kept_rows import KeptRows
from sala_compile.runtime.serving.kept.prefix_reader import PrefixReader, PrefixReading
from sala_compile.runtime.serving.kept.prefix_recall import PrefixRecall
from sala_compile.runtime.serving.kept.prefix_sending import PrefixSending
from sala_compile.runtime.serving.kept.prefix_writer import PrefixWriter
from sala_compile.runtime.serving.kept.shared_folder import folder_at
from sala_compile.runtime.state.lower_tier import Restore
from sala_compile.runtime.state.page_groups import Pages, no_pages
from sala_compile.runtime.state.prefix_cache import PrefixCache
from sala_compile.runtime.state.prefix_tree import Entry
from sala_compile.runtime.state.text_history import TextHistory

TURN_BYTES = 8 << 20
"""Bytes that a turn copies in each direction, about: a millisecond or two."""
RECALL_SECONDS = 10.0
"""A disk from which nothing comes for so long is not waited for."""
MOST_PENDING = 64
"""Entries that wait to be copied; if more come, the oldest ones are not written."""


def _nothing() -> None:
    """Wake nobody."""


class Pinning(Enum):
    """Why a state cannot stay on disk."""

    WAITS = "it is not written yet"
    LOST = "it was not written, or there is no room to keep it"


class KeptPrefixes:
    """Entries of one model's prefix cache in a directory, which outlives the process.

    For the thread that owns the engine; two others read and write the files.
    """

    def __init__(
        self, model: Model, directory: Path | str, limit: int, wake: Callable[[], None] = _nothing
    ) -> None:
        """Become the lower tier of the model's prefix cache, with at most `limit` bytes of files.

        `directory` may be a URL, whose files other servers write and read as well. `wake` is called
        from any thread when `turn` has something to do. RequestError for a model without a prefix
        cache, and for a directory that cannot be used or is another's.
        """
        engine = model.engine
        if engine.prefix is None:
            raise RequestError(
                "a prefix directory needs a prefix cache", fix="give --prefix-cache, such as 2GiB"
            )
        self._cache: PrefixCache = engine.prefix
        self._store = engine.store
        self._path = engine.stepper.rule.path
        self._rows = KeptRows(model.artifact, model.info()["target"], engine.rows)
        self.folder = folder_at(directory, limit, self._rows.identity)
        self._files = EntryFiles(self._cache, self.folder, self._rows, engine.store.page_tokens)
        self._writer = PrefixWriter(self.folder, wake)
        self._reader = PrefixReader(self.folder, wake)
        self._pending: dict[Entry, None] = {}
        self._sending: PrefixSending | None = None
        self._recalls: dict[KeptState, PrefixRecall] = {}
        self._late: list[PrefixReading] = []
        self._came = 0.0
        """When something came from disk, or began to be read."""
        self._counts: Counter[str] = Counter()
        self._cache.lower = self

    @property
    def busy(self) -> bool:
        """Whether a `turn` has something to do, or will have soon."""
        return bool(self._pending or self._sending or self._recalls)

    def kept(self, entry: Entry) -> None:
        """Write an entry when there is time."""
        self._pending[entry] = None
        while len(self._pending) > MOST_PENDING:
            self._pending.pop(next(iter(self._pending)))
            self._counts["dropped"] += 1

    def used(self, entry: Entry) -> None:
        """Note that an entry was of use: its file stays longer."""
        state = self.folder.state(self._files.state(entry))
        if state is not None:
            self.folder.touch(state)

    def evicted(self, entry: Entry) -> None:
        """Give up what was not copied yet of an entry."""
        sending = self._sending
        is_sent = sending is not None and sending.entry is entry
        if entry in self._pending or is_sent:
            self._pending.pop(entry, None)
            self._counts["dropped"] += 1
        if sending is not None and is_sent:
            sending.give_up()

    def tails(self, boundary: bytes) -> Sequence[int]:
        """How many tokens prefixes have after the whole pages of this digest, the longest first."""
        return self.folder.tails(boundary)

    def recall(self, text: bytes, exact: bool, restore: Restore) -> PrefixRecall | None:
        """Begin to bring the prefix of a text, if it is here and there is room; else None."""
        self._late = [reading for reading in self._late if not reading.ended]
        state = None if self._late else self.folder.of_text(text, exact)
        if state is None:
            return None
        if state in self._recalls:
            self.folder.let_go(state)
            return self._recalls[state]
        for header in (*(pages.header for pages in state.ancestry()), state.header):
            if header.sizes != tuple(piece.nbytes for piece in self._rows.of_file(header)):
                wrong = damaged(self.folder.where(header), "has pieces of other sizes")
                self.folder.discard(header, wrong)
                return None
        try:
            base = self._base(state)
            recall = PrefixRecall(state, base, self._store, self._rows, restore)
        except MemoryBudgetError:
            self._counts["no_memory"] += 1
            self.folder.let_go(state)
            return None
        if not self._recalls:
            self._came = time.monotonic()
        self._recalls[state] = recall
        self._reader.request(recall.reading)
        return recall

    def pin(self, ids: np.ndarray, *, again: bool = False) -> Pinning | str:
        """Have the state of a text, read just now, stay on disk: the stem of its file.

        Empty for a text too short to have one. `again` writes it once more if it is not there.
        """
        path = self._path(len(ids))
        entry = self._cache.longest(np.append(ids, 0), path, exact=True)
        if entry is None:
            return "" if len(ids) < self._cache.unit else Pinning.LOST
        header = self._files.state(entry)
        if self.folder.state(header) is not None:
            return header.stem if self.folder.pin(header.stem) else Pinning.LOST
        waits = entry in self._pending or (self._sending and self._sending.entry is entry)
        if again and not waits:
            self.kept(entry)
        return Pinning.WAITS if waits or again else Pinning.LOST

    def turn(self) -> bool:
        """Copy a bounded number of bytes from disk into pages, and from pages to disk.

        Whether more could be copied at once, as far as the disk is concerned.
        """
        budget = TURN_BYTES
        for recall in [*self._recalls.values()]:
            left = recall.advance(budget)
            if left < budget or recall.reading.ended:
                self._came = time.monotonic()
            budget = left
            if recall.is_whole or recall.is_damaged:
                self._end(recall)
        if self._recalls and time.monotonic() - self._came > RECALL_SECONDS:
            self._give_up()
        more = budget <= 0
        budget = TURN_BYTES
        while budget > 0 and (self._sending is not None or self._begin_sending()):
            assert self._sending is not None
            left = self._sending.advance(budget)
            if self._sending.finished:
                self.folder.need_less(self._sending.writing.parent)
                self._sending = None
            elif left == budget:
                break  # the writer is behind
            budget = left
        return more or budget <= 0

    def drain(self, seconds: float) -> bool:
        """Write all that waits, for a time at most; whether that was enough."""
        end = time.monotonic() + seconds
        while self._pending or self._sending:
            if time.monotonic() > end:
                return False
            self.turn()
            time.sleep(0.001)
        return True

    def close(self, seconds: float = 0.0) -> None:
        """Write what waits, for a time at most, and let another process have the directory."""
        if self._cache.lower is not self:
            return
        self.drain(seconds)
        self._cache.lower = None
        self._writer.stop()
        for recall in self._recalls.values():
            recall.give_up()
        self._reader.stop()
        self.folder.close()

    def info(self) -> dict[str, Any]:
        """Sizes, and counters of what was written, brought back, and not."""
        waiting = {"pending": len(self._pending), "recalling": len(self._recalls)}
        return {"limit": self.folder.limit, **self.folder.info(), **waiting, **self._counts}

    def _base(self, state: KeptState) -> tuple[int, Pages]:
        """How much of a prefix memory has, up to the end of a file of pages, and its pages."""
        for pages in reversed(state.ancestry()):
            entry = self._cache.tree.find(bytes.fromhex(pages.header.key))
            if entry is not None:
                return pages.header.end, self._cache.tree.pages_of(entry)
        return 0, no_pages()

    def _end(self, recall: PrefixRecall) -> None:
        """Give the cache what came, or remove what is damaged."""
        del self._recalls[recall.state]
        self.folder.let_go(recall.state)
        header = recall.state.header
        if recall.reading.error is not None:
            self.folder.discard(*recall.reading.error)
            recall.give_up()
            return
        history = TextHistory(header.history, bytes.fromhex(header.origin))
        if not recall.restore(recall.snapshot, history, recall.pages):
            recall.give_up()  # the text was read meanwhile
            return
        self.folder.touch(recall.state)
        self._counts.update(recalled=1, recalled_tokens=header.end)
        recall.release_pages()

    def _give_up(self) -> None:
        """Wait for no recall any more, and begin none until the disk has answered."""
        for recall in self._recalls.values():
            recall.give_up()
            self.folder.let_go(recall.state)
            self._late.append(recall.reading)
            self.folder.tell("late", f"nothing came for {RECALL_SECONDS:g} s; prompts are read")
        self._recalls.clear()

    def _begin_sending(self) -> bool:
        """Begin with the next entry that is not on disk; False if there is none."""
        while self._pending:
            entry = next(iter(self._pending))
            del self._pending[entry]
            if self._writer.rests:
                self._counts["dropped"] += 1
                continue
            writing = self._files.writing(entry)
            if writing is not None:
                pieces = [p for header in writing.headers for p in self._rows.of_file(header)]
                pages_of = self._cache.tree.pages_of
                self._sending = PrefixSending(
                    entry, writing, pieces, self._writer, self._rows, pages_of
                )
                return True
        return False
