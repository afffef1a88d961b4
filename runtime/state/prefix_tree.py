"""Cached beginnings of texts: a tree of pages with a snapshot at the end of every branch."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sala_compile.runtime.state.pages import PagePool
from sala_compile.runtime.state.store import Snapshot, StateStore


@dataclass(eq=False, slots=True)
class Entry:
    """A text of `snapshot.length` tokens, whole pages, with the state behind it.

    `digests`, `pages` and `compressed_pages` (the full ones) are those beyond the parent's text.
    `used` counts lookups: the larger, the later it was of use. The first `exact_length` tokens were
    read as a prompt is, cut where that changes no bit.
    """

    snapshot: Snapshot
    digests: list[bytes]
    pages: list[int]
    compressed_pages: list[int]
    parent: "Entry | None"
    used: int
    children: int = 0
    exact_length: int = 0

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return self.snapshot.length

    @property
    def all_compressed(self) -> list[int]:
        """Compressed pages, that of the snapshot included."""
        partial = self.snapshot.compressed_page
        return self.compressed_pages if partial is None else [*self.compressed_pages, partial]

    def ancestry(self) -> "list[Entry]":
        """The entries from the shortest text to this one."""
        path: list[Entry] = []
        entry: Entry | None = self
        while entry is not None:
            path.append(entry)
            entry = entry.parent
        return path[::-1]


class PrefixTree:
    """All entries, by the digest of their texts; holds their pages and snapshots in a store."""

    def __init__(self, store: StateStore) -> None:
        """An empty tree, asked to make room when pages or snapshots run out."""
        self._store = store
        self._entries: dict[bytes, Entry] = {}
        self._covered: Counter[bytes] = Counter()
        self._pinned: Entry | None = None
        self.evicted: dict[bytes, None] = {}
        self.evictions = 0
        store.pages.pool.reclaim = lambda number: self._free_pages(
            store.pages.pool, number, lambda entry: entry.pages
        )
        store.compressed.pool.reclaim = lambda number: self._free_pages(
            store.compressed.pool, number, lambda entry: entry.all_compressed
        )
        store.snapshots.reclaim = lambda number: self._make_room(store.snapshots, number, 1)

    def __len__(self) -> int:
        """The number of entries."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """All entries."""
        return iter(self._entries.values())

    def find(self, digest: bytes) -> Entry | None:
        """The entry of a text."""
        return self._entries.get(digest)

    def covers(self, digest: bytes) -> bool:
        """Whether some entry's text begins with this one."""
        return digest in self._covered

    def pages_of(self, entry: Entry) -> tuple[list[int], list[int]]:
        """All full pages of an entry's text, of both kinds."""
        path = entry.ancestry()
        return (
            [page for each in path for page in each.pages],
            [page for each in path for page in each.compressed_pages],
        )

    def pin(self, entry: Entry | None) -> None:
        """Keep an entry, and only this one, whatever room is needed."""
        self._pinned = entry

    def touch(self, entry: Entry, used: int) -> None:
        """Note that an entry was of use."""
        for each in entry.ancestry():
            each.used = used

    def add(
        self, snapshot: Snapshot, chain: list[bytes], owned: tuple[list[int], list[int]], used: int
    ) -> Entry:
        """Add the text whose pages have the digests `chain`; its snapshot is the tree's now.

        `owned` are the pages of the sequence, which are shared. Where a longer text with another
        snapshot has the same beginning, this entry comes between that one and its parent.
        """
        parent = next(filter(None, (self.find(digest) for digest in reversed(chain[:-1]))), None)
        begin = 0 if parent is None else parent.length
        own = [
            pages[begin // size : snapshot.length // size]
            for pages, size in zip(owned, self._page_sizes, strict=True)
        ]
        self._store.pages.pool.share(own[0])
        self._store.compressed.pool.share(own[1])
        digests = chain[begin // self._page_sizes[0] :]
        entry = Entry(snapshot, digests, own[0], own[1], parent, used)
        last = len(digests) - 1
        for each in self:
            if each.parent is parent and each.digests[last : last + 1] == digests[-1:]:
                self._cut(each, entry)
        if parent is not None:
            parent.children += 1 - entry.children
        self._entries[chain[-1]] = entry
        self._covered.update(digests)
        return entry

    @property
    def _page_sizes(self) -> tuple[int, int]:
        return self._store.pages.page_tokens, self._store.compressed.page_tokens

    def _cut(self, longer: Entry, entry: Entry) -> None:
        """Make `entry` the parent of `longer`, which lets go of the part that they share."""
        pools = self._store.pages.pool, self._store.compressed.pool
        shared = len(entry.pages), len(entry.compressed_pages)
        pools[0].release(longer.pages[: shared[0]])
        pools[1].release(longer.compressed_pages[: shared[1]])
        self._uncover(longer.digests[: shared[0]])
        del longer.pages[: shared[0]], longer.digests[: shared[0]]
        del longer.compressed_pages[: shared[1]]
        longer.parent = entry
        entry.children += 1

    def _uncover(self, digests: list[bytes]) -> None:
        self._covered.subtract(digests)
        for digest in digests:
            if not self._covered[digest]:
                del self._covered[digest]

    def _free_pages(self, pool: PagePool, number: int, pages: Callable[[Entry], list[int]]) -> None:
        """Evict for pages, unless all that nobody else holds would not be enough."""
        own = sum(pool.holders(page) == 1 for entry in self for page in pages(entry))
        if pool.free + own >= number:
            self._make_room(pool, number, 0)

    def _make_room(self, pool: PagePool, number: int, children: int) -> None:
        """Evict entries of at most so many children until `number` are free in the pool."""
        while pool.free < number:
            candidates = [e for e in self if e is not self._pinned and e.children <= children]
            if not candidates:
                return
            ends = {e.parent: e.length for e in self if e.parent is not None}
            self._evict(min(candidates, key=lambda e: (e.used, _gap(e, ends.get(e)))))

    def _evict(self, entry: Entry) -> None:
        """Drop an entry; the only child of one that has a child gets its pages."""
        last = entry.digests[-1]
        del self._entries[last]
        self._store.drop_snapshot(entry.snapshot)
        self.evictions += 1
        if entry.children:
            child = next(each for each in self if each.parent is entry)
            child.digests[:0] = entry.digests
            child.pages[:0] = entry.pages
            child.compressed_pages[:0] = entry.compressed_pages
            child.parent = entry.parent
            return
        self._remember(entry.digests)
        self._uncover(entry.digests)
        self._store.pages.pool.release(entry.pages)
        self._store.compressed.pool.release(entry.compressed_pages)
        if entry.parent is not None:
            entry.parent.children -= 1

    def _remember(self, digests: list[bytes]) -> None:
        """Note what was evicted, of late, to be able to say so."""
        self.evicted |= dict.fromkeys(digests)
        while len(self.evicted) > _REMEMBERED:
            del self.evicted[next(iter(self.evicted))]


_REMEMBERED = 1 << 14
"""Digests of evicted pages that are remembered."""


def _gap(entry: Entry, child_length: int | None) -> float:
    """Tokens to compute again without the entry, infinite for the end of a text."""
    if child_length is None:
        return float("inf")
    return child_length - (entry.parent.length if entry.parent is not None else 0)
