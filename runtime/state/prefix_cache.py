"""Reuse of common prefixes of prompts, for models with a recurrent state.

A prefix is reusable where a snapshot of the recurrent state was kept, if its tokens, the model
and the attention path on which it was computed are the same. Snapshots are kept every so many
tokens, near the end of every prompt, and where a prompt departs from a known one: the next prompt
that does so finds it. They are at multiples of whole pages at which reading may be cut without a
change of bits: what continues from there computes what it would without the cache. Those at the
end of an answer can be of any length: what continues from there goes on as the conversation would.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from math import lcm
from typing import Any

import numpy as np

from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.state.attention_paths import PathSpans
from sala_compile.runtime.state.lower_tier import LowerTier, Recall
from sala_compile.runtime.state.page_groups import Pages
from sala_compile.runtime.state.prefix_digests import PrefixDigests
from sala_compile.runtime.state.prefix_tree import Entry, PrefixTree
from sala_compile.runtime.state.store import Snapshot, State, StateStore
from sala_compile.runtime.state.text_history import Link, TextHistory

Tails = Callable[[bytes], Sequence[int]]
"""How many tokens prefixes have after whole pages, by the digest of those."""


class Miss(StrEnum):
    """Why a prompt, or the rest of it, was computed anew."""

    NOTHING_CACHED = "nothing is cached yet"
    TOO_SHORT = "the prompt has no more tokens than what is kept at least"
    NOT_FROM_START = "the sequence held tokens already; only whole prompts are looked up"
    OTHER_PATH = "the same text is cached as it was computed on another attention path"
    EVICTED = "the same text was cached and evicted to make room"
    NO_SNAPSHOT = "the text is known, but no state was kept at or before the point of departure"
    OTHER_TEXT = "no cached text begins with the same page of tokens"


@dataclass(frozen=True, slots=True)
class PrefixReport:
    """What the cache did for one call: tokens of the prompt, tokens reused.

    `known_tokens` is how much of the prompt is also the prefix of something cached, in whole
    pages; `miss` says why nothing was reused, None if something was.
    """

    prompt_tokens: int
    reused_tokens: int
    known_tokens: int
    path: str
    miss: str | None
    exact: bool = True


@dataclass(frozen=True, slots=True)
class PrefixOptions:
    """`every`: tokens between snapshots, whole pages; `nbytes`: the planned size."""

    every: int
    nbytes: int


class PrefixCache:
    """Finds and keeps prefixes. Its pages and snapshots make room for sequences."""

    def __init__(
        self,
        store: StateStore,
        model: str,
        paths: Iterable[str],
        options: PrefixOptions,
        multiple: int,
    ) -> None:
        """An empty cache for the model with the digest `model` and these attention paths.

        States are kept where pages end and reading may be cut: at multiples of `multiple` tokens.
        """
        self.every = options.every
        self._store = store
        self._nbytes = options.nbytes
        self._page = store.page_tokens
        self._multiple = multiple
        self._unit = lcm(self._page, multiple)
        self._digests = PrefixDigests(model, paths, self._page)
        self._tree = PrefixTree(store)
        self._lower: LowerTier | None = None
        self._clock = 0
        self._counts: Counter[str] = Counter()
        self._misses: Counter[Miss] = Counter()

    @property
    def unit(self) -> int:
        """Prefixes of text that is read are kept at multiples of so many tokens."""
        return self._unit

    @property
    def tree(self) -> PrefixTree:
        """What is kept in memory."""
        return self._tree

    @property
    def lower(self) -> LowerTier | None:
        """Where copies of it go, and come from; None if that is nowhere."""
        return self._lower

    @lower.setter
    def lower(self, tier: LowerTier | None) -> None:
        self._lower = tier
        self._tree.on_evict = None if tier is None else tier.evicted

    def begin(
        self, state: State, ids: np.ndarray, path: str, *, exact: bool = False
    ) -> PrefixReport:
        """Give an empty `state` the longest kept prefix of a prompt; returns what was found.

        With `exact` only of text that was read: what follows has the bits of reading all.
        """
        self._clock += 1
        if state.length:
            return self._report(ids, 0, 0, path, Miss.NOT_FROM_START)
        salt = state.salt
        texts = self.texts(ids, path, salt)
        known = self._page * sum(self._tree.covers(text) for text in texts)
        for entry in self._longest_first(ids, texts, self._digests.seed(path, salt), exact):
            if self._attach(state, entry, ids, path):
                report = self._report(ids, entry.length, known, path, None)
                return replace(report, exact=entry.history.exact)
        return self._report(ids, 0, known, path, self._why(ids, texts, known, salt))

    def texts(self, ids: np.ndarray, path: str, salt: bytes = b"") -> list[bytes]:
        """The digests of the whole pages of a prompt whose last token is to be read."""
        return self._digests.pages(ids[: len(ids) - 1], path, salt)

    def longest(
        self,
        ids: np.ndarray,
        path: str,
        *,
        exact: bool = False,
        salt: bytes = b"",
        texts: Sequence[bytes] | None = None,
    ) -> Entry | None:
        """The longest kept prefix that `begin` would find for a state with the `salt`.

        `texts` if they are known already.
        """
        known = self.texts(ids, path, salt) if texts is None else texts
        return next(self._longest_first(ids, known, self._digests.seed(path, salt), exact), None)

    def missing(self, entry: Entry, length: int) -> dict[str, int]:
        """How many free rows a sequence of `length` tokens takes that begins with an entry.

        By pool names. Pages that only the cache holds are free before, and taken afterwards.
        """
        rows = self._store.missing(None, length)
        for name, pages in self._tree.pages_of(entry).items():
            pool = self._store.groups.tables[name].pool
            rows[pool.name] -= pool.shared(pages)
        return rows

    def recall(
        self, ids: np.ndarray, path: str, *, exact: bool = False, salt: bytes = b""
    ) -> Recall | None:
        """Begin to bring the longest prefix that the lower tier has from there, if it is longer.

        None if `begin` finds as much now, or will find no more.
        """
        if self._lower is None:
            return None
        texts = self.texts(ids, path, salt)
        known = self.longest(ids, path, exact=exact, salt=salt, texts=texts)
        tails = _no_tails if exact else self._lower.tails
        for length, text in self._prefixes(ids, texts, self._digests.seed(path, salt), tails):
            if known is not None and length <= known.length:
                return None
            restore = partial(self._restore, ids[:length], path, salt)
            recall = self._lower.recall(text, exact, restore)
            if recall is not None:
                return recall
        return None

    def snapshot_lengths(self, begin: int, end: int, known: int) -> list[int]:
        """The lengths between `begin` and `end` after which a call's state should be kept."""
        first = begin // self.every + 1
        wanted = {*range(first * self.every, end + 1, self.every)}
        wanted |= {length // self._unit * self._unit for length in (known, end - 1)}
        return sorted(length for length in wanted if begin < length <= end)

    def keep(self, state: State) -> None:
        """Keep the present state, if all of it has one attention path and its tokens are known.

        One that ends within a page is for texts that go on from there, such as a conversation.
        """
        chain = self._chain(state)
        if not chain or len(chain) != -(-state.length // self._page):
            return
        entry = self._tree.find(chain[-1][1])
        if entry is not None:
            self._tree.touch(entry, self._clock)
            return
        try:
            snapshot = self._store.take_snapshot(state)
        except MemoryBudgetError:
            self._counts["not_kept"] += 1
            return
        seed = self._digests.seed(state.spans.ends[0][1], state.salt)
        entry = self._add(snapshot, state.history, chain, seed, state.pages)
        if self._lower is not None:
            self._lower.kept(entry)

    def entries(self, state: State) -> dict[int, Entry]:
        """The kept states of a sequence's own prefixes, by length."""
        found = (self._tree.find(key) for _, key in self._chain(state))
        return {entry.length: entry for entry in found if entry is not None}

    def pin(self, entry: Entry | None) -> None:
        """Keep an entry, and this one only, even if room is needed."""
        self._tree.pin(entry)

    def info(self) -> dict[str, Any]:
        """Counters: what is kept, what was looked up and reused in tokens, and why not more."""
        snapshots = self._store.snapshots
        return {
            "enabled": True,
            "bytes": self._nbytes,
            "snapshot_every": self.every,
            "entries": len(self._tree),
            "cached_tokens": sum(entry.own_tokens for entry in self._tree),
            "snapshots": {"used": snapshots.used, "total": snapshots.count},
            "lookups": self._counts["lookups"],
            "hits": self._counts["hits"],
            "prompt_tokens": self._counts["prompt_tokens"],
            "hit_tokens": self._counts["hit_tokens"],
            "misses": {miss.value: count for miss, count in self._misses.items()},
            "evictions": self._tree.evictions,
            "not_kept": self._counts["not_kept"],
            **({} if self._lower is None else {"directory": self._lower.info()}),
        }

    def _attach(self, state: State, entry: Entry, ids: np.ndarray, path: str) -> bool:
        self._tree.touch(entry, self._clock)
        self.pin(entry)
        try:
            self._store.adopt(state, self._tree.pages_of(entry), entry.snapshot)
        except MemoryBudgetError:
            return False
        finally:
            self.pin(None)
        if self._lower is not None:
            self._lower.used(entry)
        self._store.tokens[state.slot, : entry.length] = ids[: entry.length]
        state.spans = PathSpans(((entry.length, path),))
        state.history, state.links = entry.history, []
        return True

    def _longest_first(
        self, ids: np.ndarray, texts: Sequence[bytes], seed: bytes, exact: bool
    ) -> Iterator[Entry]:
        """Kept prefixes of a prompt whose pages have the digests `texts`, from `seed` on."""
        tails = _no_tails if exact else self._tree.tails
        for _, text in self._prefixes(ids, texts, seed, tails):
            entry = self._tree.find(text) if exact else self._tree.of_text(text)
            if entry is not None and entry.history.continues(entry.length, self._multiple):
                yield entry

    def _prefixes(
        self, ids: np.ndarray, texts: Sequence[bytes], seed: bytes, tails: Tails
    ) -> Iterator[tuple[int, bytes]]:
        """Lengths and digests of prefixes, the longest first: whole pages, and `tails` after."""
        for pages in range(len(texts), -1, -1):
            boundary = texts[pages - 1] if pages else seed
            begin = pages * self._page
            rest = ids[begin : len(ids) - 1]
            for tail in tails(boundary):
                if tail <= len(rest):
                    yield begin + tail, self._digests.longer(boundary, rest[:tail])
            if pages:
                yield begin, boundary

    def _add(
        self,
        snapshot: Snapshot,
        history: TextHistory,
        chain: Sequence[Link],
        seed: bytes,
        pages: Pages,
    ) -> Entry:
        whole = snapshot.length // self._page
        boundary = chain[whole - 1][0] if whole else seed
        return self._tree.add(snapshot, history, chain, boundary, pages, self._clock)

    def _restore(
        self,
        ids: np.ndarray,
        path: str,
        salt: bytes,
        snapshot: Snapshot,
        history: TextHistory,
        pages: Pages,
    ) -> bool:
        """Take over what came from the lower tier; False if it is there already."""
        chain = self._digests.links(ids, path, history, salt)
        if self._tree.find(chain[-1][1]) is not None:
            return False
        self._add(snapshot, history, chain, self._digests.seed(path, salt), pages)
        return True

    def _why(self, ids: np.ndarray, texts: Sequence[bytes], known: int, salt: bytes) -> Miss:
        """The reason why nothing is reusable."""
        if len(ids) <= self._unit:
            return Miss.TOO_SHORT
        if known:
            return Miss.NO_SNAPSHOT
        first = ids[: self._page]
        others = (self._digests.pages(first, each, salt)[0] for each in self._digests.paths)
        if any(self._tree.covers(text) for text in others):
            return Miss.OTHER_PATH
        if texts[0] in self._tree.evicted:
            return Miss.EVICTED
        return Miss.OTHER_TEXT if len(self._tree) else Miss.NOTHING_CACHED

    def _report(
        self, ids: np.ndarray, reused: int, known: int, path: str, miss: Miss | None
    ) -> PrefixReport:
        self._counts.update(lookups=1, prompt_tokens=len(ids), hit_tokens=reused)
        if miss is None:
            self._counts["hits"] += 1
        else:
            self._misses[miss] += 1
        text = None if miss is None else miss.value
        return PrefixReport(len(ids), reused, known, path, text)

    def _chain(self, state: State) -> list[Link]:
        """The links of a state's pages, as far as all tokens have one attention path.

        Then that of the whole, if it ends within a page.
        """
        ids = self._store.token_ids(state)[: state.known_length]
        end = self._digests.complete(state, ids)
        tail = ids[len(state.links) * self._page :]
        if end < state.length or not len(tail):
            return [*state.links]
        seed = self._digests.seed(state.spans.ends[0][1], state.salt)
        before = state.links[-1][0] if state.links else seed
        return [*state.links, state.history.link(self._digests.longer(before, tail))]


def _no_tails(boundary: bytes) -> Sequence[int]:
    """Those of text that is read: at its ends within a page nothing may be cut."""
    return ()
