"""Cached prefixes: a tree of pages with a snapshot at the end of every branch."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from sala_compile.runtime.state.eviction import EvictionQueue, Key
from sala_compile.runtime.state.page_groups import Pages, no_pages
from sala_compile.runtime.state.pages import PagePool
from sala_compile.runtime.state.store import Snapshot, StateStore
from sala_compile.runtime.state.text_history import Link, TextHistory


@dataclass(eq=False, slots=True)
class Entry:
    """A prefix of `snapshot.length` tokens, with the state after it.

    `history` says how its tokens were computed. `links` are those of its pages, and of itself if it
    ends within one; they and the full `pages` of every group are those beyond the parent's prefix.
    `boundary` is the digest of its whole pages. `used` counts lookups: the larger, the later it was
    of use.
    """

    snapshot: Snapshot
    history: TextHistory
    links: list[Link]
    pages: Pages
    parent: "Entry | None"
    used: int
    boundary: bytes
    children: "set[Entry]" = field(default_factory=set["Entry"])

    @property
    def text(self) -> bytes:
        """The digest of its tokens."""
        return self.links[-1][0]

    @property
    def key(self) -> bytes:
        """The digest of its tokens with their history."""
        return self.links[-1][1]

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return self.snapshot.length

    @property
    def own_tokens(self) -> int:
        """Tokens beyond the parent's prefix."""
        return self.length - (0 if self.parent is None else self.parent.length)

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
    """All entries, by their keys; holds their pages and snapshots in a store."""

    def __init__(self, store: StateStore) -> None:
        """An empty tree, which makes room when pages or snapshots run out."""
        self._store = store
        self._entries: dict[bytes, Entry] = {}
        self._texts: dict[bytes, list[Entry]] = {}
        self._tails: dict[bytes, Counter[int]] = {}
        self._covered: Counter[bytes] = Counter()
        self._beginning: dict[Link, list[Entry]] = {}
        self._pinned: Entry | None = None
        self._ends = EvictionQueue(self._end_key, lambda: self)
        self._inner = EvictionQueue(self._inner_key, lambda: self)
        self.on_evict: Callable[[Entry], None] | None = None
        """Called with every entry that is dropped, before it lets anything go."""
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

    def find(self, key: bytes) -> Entry | None:
        """The entry with this key."""
        return self._entries.get(key)

    def of_text(self, digest: bytes) -> Entry | None:
        """The entry of a text: of several histories the exact one, else what was used last."""
        found = self._texts.get(digest)
        if found is None:
            return None
        return self._entries.get(digest) or max(found, key=lambda entry: entry.used)

    def tails(self, boundary: bytes) -> list[int]:
        """How many tokens entries have after these whole pages, the longest first."""
        return sorted(self._tails.get(boundary, ()), reverse=True)

    def covers(self, text: bytes) -> bool:
        """Whether some entry begins with this text, however computed."""
        return text in self._covered

    def pages_of(self, entry: Entry) -> Pages:
        """All full pages of an entry, by group."""
        found = no_pages()
        for each in entry.ancestry():
            _append(found, each.pages)
        return found

    def page_keys(self, entry: Entry) -> list[bytes]:
        """The keys of an entry's text up to the end of each of its pages."""
        keys = [key for each in entry.ancestry() for _, key in each.links]
        return keys[: entry.length // self._store.page_tokens]

    def pin(self, entry: Entry | None) -> None:
        """Keep an entry, and this one only, even if room is needed."""
        self._pinned = entry

    def touch(self, entry: Entry, used: int) -> None:
        """Note that an entry was of use."""
        for each in entry.ancestry():
            each.used = used

    def add(
        self,
        snapshot: Snapshot,
        history: TextHistory,
        chain: Sequence[Link],
        boundary: bytes,
        owned: Pages,
        used: int,
    ) -> Entry:
        """Add the prefix whose pages have the links `chain`; its snapshot is the tree's now.

        One that ends within a page has a link more; `boundary` is the digest of the whole pages.
        `owned` are the pages of the sequence, which are shared. If a longer prefix with another
        snapshot begins with this one, the entry comes between that one and its parent.
        """
        parent = next(filter(None, (self.find(key) for _, key in reversed(chain[:-1]))), None)
        begin = 0 if parent is None else parent.length
        own = self._store.groups.full(owned, begin, snapshot.length)
        self._store.groups.share(own)
        links = [*chain[begin // self._store.page_tokens :]]
        entry = Entry(snapshot, history, links, own, parent, used, boundary)
        last = len(links) - 1
        for name, pool in self._store.groups.pools():
            pool.cache(entry.held(name))
        for each in self._beginning.pop(links[0], []):
            if each.links[last : last + 1] == links[-1:]:
                self._cut(each, entry)
            self._enter(each)
        self._enter(entry)
        if parent is not None:
            parent.children.add(entry)
        self._entries[entry.key] = entry
        self._note_text(entry, 1)
        self._covered.update(text for text, _ in links)
        self._queue(entry, *entry.children, *([] if parent is None else [parent]))
        return entry

    def _note_text(self, entry: Entry, change: int) -> None:
        """Note that there is one entry more or less with its text, and with its tail."""
        same = self._texts.setdefault(entry.text, [])
        same.append(entry) if change > 0 else same.remove(entry)
        if not same:
            del self._texts[entry.text]
        tail = entry.length % self._store.page_tokens
        if tail:
            counts = self._tails.setdefault(entry.boundary, Counter())
            counts[tail] += change
            if not counts[tail]:
                del counts[tail]
            if not counts:
                del self._tails[entry.boundary]

    def _enter(self, entry: Entry) -> None:
        """Note with which page an entry begins, beyond its parent's prefix."""
        self._beginning.setdefault(entry.links[0], []).append(entry)

    def _leave(self, entry: Entry) -> None:
        others = self._beginning[entry.links[0]]
        others.remove(entry)
        if not others:
            del self._beginning[entry.links[0]]

    def _queue(self, *entries: Entry) -> None:
        """Put entries where they are now among those that may be evicted."""
        for entry in entries:
            self._ends.push(entry)
            self._inner.push(entry)

    def _is_kept(self, entry: Entry) -> bool:
        return self._entries.get(entry.key) is entry

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
            shared, pool = len(pages), self._store.groups.tables[name].pool
            pool.uncache(longer.pages[name][:shared])
            pool.release(longer.pages[name][:shared])
            del longer.pages[name][:shared]
        self._uncover(longer.links[: len(entry.links)])
        del longer.links[: len(entry.links)]
        if longer.parent is not None:
            longer.parent.children.remove(longer)
        longer.parent = entry
        entry.children.add(longer)

    def _uncover(self, links: list[Link]) -> None:
        self._covered.subtract(text for text, _ in links)
        for text, _ in links:
            if not self._covered[text]:
                del self._covered[text]

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
        if self.on_evict is not None:
            self.on_evict(entry)
        del self._entries[entry.key]
        self._note_text(entry, -1)
        for name, page in entry.snapshot.partial.items():
            self._store.groups.tables[name].pool.uncache([page])
        self._store.drop_snapshot(entry.snapshot)
        self.evictions += 1
        self._leave(entry)
        parent = entry.parent
        if parent is not None:
            parent.children.remove(entry)
        if entry.children:
            [child] = entry.children
            self._leave(child)
            child.links[:0] = entry.links
            _append(entry.pages, child.pages)
            child.pages = entry.pages
            child.parent = parent
            self._enter(child)
            if parent is not None:
                parent.children.add(child)
        else:
            self._remember(entry.links)
            self._uncover(entry.links)
            for name, pool in self._store.groups.pools():
                pool.uncache(entry.pages[name])
            self._store.groups.release(entry.pages)
        if parent is not None:
            self._queue(parent)
        for queue in (self._ends, self._inner):
            queue.remove(entry)

    def _remember(self, links: list[Link]) -> None:
        """Note what was evicted recently, for reports of a miss."""
        self.evicted |= dict.fromkeys(text for text, _ in links)
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
    return entry.own_tokens + next(iter(entry.children)).own_tokens
