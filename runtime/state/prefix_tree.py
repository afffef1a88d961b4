"""Cached prefixes: a tree of pages with a snapshot at the end of every branch."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from sala_compile.runtime.state.eviction import EvictionQueue, Key
from sala_compile.runtime.state.page_groups import Pages, no_pages
from sala_compile.runtime.state.pages import PagePool
from sala_compile.runtime.state.store import Snapshot, StateStore


@dataclass(eq=False, slots=True)
class Entry:
    """A prefix of `snapshot.length` tokens, whole pages, with the state after it.

    `digests` and the full `pages` of every group are those beyond the parent's prefix.
    `used` counts lookups: the larger, the later it was of use. The first `exact_length` tokens were
    read as a prompt is, cut where that changes no bit.
    """

    snapshot: Snapshot
    digests: list[bytes]
    pages: Pages
    parent: "Entry | None"
    used: int
    children: "set[Entry]" = field(default_factory=set["Entry"])
    exact_length: int = 0

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return self.snapshot.length

    def held(self, group: str) -> list[int]:
        """Pages of a group, those of the snapshot included."""
        partial = self.snapshot.partial.get(group)
        return self.pages[group] if partial is None else [*self.pages[group], partial]

    def ancestry(self) -> "list[Entry]":
        """The entries from the shortest prefix to this one."""
        path: list[Entry] = []
        entry: Entry | None = self
        while entry is not None:
            path.append(entry)
            entry = entry.parent
        return path[::-1]


class PrefixTree:
    """All entries, by the digest of their token ids; holds their pages and snapshots in a store."""

    def __init__(self, store: StateStore) -> None:
        """An empty tree, which makes room when pages or snapshots run out."""
        self._store = store
        self._entries: dict[bytes, Entry] = {}
        self._covered: Counter[bytes] = Counter()
        self._beginning: dict[bytes, list[Entry]] = {}
        self._pinned: Entry | None = None
        self._ends = EvictionQueue(self._end_key, lambda: self)
        self._inner = EvictionQueue(self._inner_key, lambda: self)
        self.evicted: dict[bytes, None] = {}
        self.evictions = 0
        for _, pool in store.groups.pools():
            pool.reclaim = partial(self._free_pages, pool)
        store.snapshots.reclaim = partial(self._make_room, store.snapshots, self._inner)

    def __len__(self) -> int:
        """The number of entries."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """All entries."""
        return iter(self._entries.values())

    def find(self, digest: bytes) -> Entry | None:
        """The entry of a prefix."""
        return self._entries.get(digest)

    def covers(self, digest: bytes) -> bool:
        """Whether some entry begins with this prefix."""
        return digest in self._covered

    def pages_of(self, entry: Entry) -> Pages:
        """All full pages of an entry, by group."""
        found = no_pages()
        for each in entry.ancestry():
            _append(found, each.pages)
        return found

    def pin(self, entry: Entry | None) -> None:
        """Keep an entry, and this one only, even if room is needed."""
        self._pinned = entry

    def touch(self, entry: Entry, used: int) -> None:
        """Note that an entry was of use."""
        for each in entry.ancestry():
            each.used = used

    def add(self, snapshot: Snapshot, chain: list[bytes], owned: Pages, used: int) -> Entry:
        """Add the prefix whose pages have the digests `chain`; its snapshot is the tree's now.

        `owned` are the pages of the sequence, which are shared. If a longer prefix with another
        snapshot begins with this one, the entry comes between that one and its parent.
        """
        parent = next(filter(None, (self.find(digest) for digest in reversed(chain[:-1]))), None)
        begin = 0 if parent is None else parent.length
        own = self._store.groups.full(owned, begin, snapshot.length)
        self._store.groups.share(own)
        digests = chain[begin // self._store.page_tokens :]
        entry = Entry(snapshot, digests, own, parent, used)
        last = len(digests) - 1
        for name, pool in self._store.groups.pools():
            pool.cache(entry.held(name))
        for each in self._beginning.pop(digests[0], []):
            if each.digests[last : last + 1] == digests[-1:]:
                self._cut(each, entry)
            self._enter(each)
        self._enter(entry)
        if parent is not None:
            parent.children.add(entry)
        self._entries[chain[-1]] = entry
        self._covered.update(digests)
        self._queue(entry, *entry.children, *([] if parent is None else [parent]))
        return entry

    def _enter(self, entry: Entry) -> None:
        """Note with which page an entry begins, beyond its parent's prefix."""
        self._beginning.setdefault(entry.digests[0], []).append(entry)

    def _leave(self, entry: Entry) -> None:
        others = self._beginning[entry.digests[0]]
        others.remove(entry)
        if not others:
            del self._beginning[entry.digests[0]]

    def _queue(self, *entries: Entry) -> None:
        """Put entries where they are now among those that may be evicted."""
        for entry in entries:
            self._ends.push(entry)
            self._inner.push(entry)

    def _is_kept(self, entry: Entry) -> bool:
        return self._entries.get(entry.digests[-1]) is entry

    def _end_key(self, entry: Entry) -> Key | None:
        """Ends of branches: the least recently used first."""
        return (entry.used,) if self._is_kept(entry) and not entry.children else None

    def _inner_key(self, entry: Entry) -> Key | None:
        """Entries with at most one child: of equal use, the one with the least to compute again."""
        if not self._is_kept(entry) or len(entry.children) > 1:
            return None
        return entry.used, _gap(entry)

    def _cut(self, longer: Entry, entry: Entry) -> None:
        """Make `entry` the parent of `longer`, which releases the part that they share."""
        for name, pages in entry.pages.items():
            shared = len(pages)
            self._store.groups.tables[name].pool.release(longer.pages[name][:shared])
            del longer.pages[name][:shared]
        self._uncover(longer.digests[: len(entry.digests)])
        del longer.digests[: len(entry.digests)]
        if longer.parent is not None:
            longer.parent.children.remove(longer)
        longer.parent = entry
        entry.children.add(longer)

    def _uncover(self, digests: list[bytes]) -> None:
        self._covered.subtract(digests)
        for digest in digests:
            if not self._covered[digest]:
                del self._covered[digest]

    def _free_pages(self, pool: PagePool, number: int) -> None:
        """Evict for pages, unless all that nobody else holds would not be enough."""
        if pool.available >= number:
            self._make_room(pool, self._ends, number)

    def _make_room(self, pool: PagePool, queue: EvictionQueue[Entry], number: int) -> None:
        """Evict entries until `number` are free in the pool."""
        while pool.free < number:
            entry = queue.pop(self._pinned)
            if entry is None:
                return
            self._evict(entry)

    def _evict(self, entry: Entry) -> None:
        """Drop an entry; the only child of one that has a child gets its pages."""
        del self._entries[entry.digests[-1]]
        self._store.drop_snapshot(entry.snapshot)
        self.evictions += 1
        self._leave(entry)
        parent = entry.parent
        if parent is not None:
            parent.children.remove(entry)
        if entry.children:
            [child] = entry.children
            self._leave(child)
            child.digests[:0] = entry.digests
            _append(entry.pages, child.pages)
            child.pages = entry.pages
            child.parent = parent
            self._enter(child)
            if parent is not None:
                parent.children.add(child)
        else:
            self._remember(entry.digests)
            self._uncover(entry.digests)
            for name, pool in self._store.groups.pools():
                pool.uncache(entry.pages[name])
            self._store.groups.release(entry.pages)
        if parent is not None:
            self._queue(parent)
        for queue in (self._ends, self._inner):
            queue.remove(entry)

    def _remember(self, digests: list[bytes]) -> None:
        """Note what was evicted recently, for reports of a miss."""
        self.evicted |= dict.fromkeys(digests)
        while len(self.evicted) > _REMEMBERED:
            del self.evicted[next(iter(self.evicted))]


_REMEMBERED = 1 << 14
"""Digests of evicted pages that are remembered."""


def _append(pages: Pages, following: Pages) -> None:
    """Add the pages that follow."""
    for name, more in following.items():
        pages[name] += more


def _gap(entry: Entry) -> float:
    """Tokens to compute again without the entry, infinite for the end of a branch."""
    if not entry.children:
        return float("inf")
    begin = 0 if entry.parent is None else entry.parent.length
    return next(iter(entry.children)).length - begin
