"""Reuse of common prefixes of prompts, for models with a recurrent state.

A prefix is reusable where a snapshot of the recurrent state was kept, if its tokens, the model
and the attention path on which it was computed are the same. Snapshots are kept every so many
tokens, near the end of every prompt, and where a prompt departs from a known one: the next prompt
that does so finds it. They are at multiples of whole pages at which reading may be cut without a
change of bits: what continues from there computes what it would without the cache.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import lcm
from typing import Any

import numpy as np

from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.state.attention_paths import PathSpans
from sala_compile.runtime.state.prefix_tree import Entry, PrefixTree
from sala_compile.runtime.state.store import State, StateStore

_DIGEST_BYTES = 16


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
        self._unit = lcm(self._page, multiple)
        self._seeds = {path: _digest(b"", f"{model} {path}".encode()) for path in paths}
        self._tree = PrefixTree(store)
        self._clock = 0
        self._counts: Counter[str] = Counter()
        self._misses: Counter[Miss] = Counter()

    def begin(self, state: State, ids: np.ndarray, path: str) -> PrefixReport:
        """Give an empty `state` the longest kept prefix of a prompt; returns what was found."""
        self._clock += 1
        if state.length:
            return self._report(ids, 0, 0, path, Miss.NOT_FROM_START)
        chain = self._chain_of(ids[: (len(ids) - 1) // self._page * self._page], path)
        known = self._page * sum(self._tree.covers(digest) for digest in chain)
        for digest in reversed(chain):
            entry = self._tree.find(digest)
            if entry is not None and self._attach(state, entry, ids, path):
                state.page_hashes = chain[: entry.length // self._page]
                report = self._report(ids, entry.length, known, path, None)
                return replace(report, exact=entry.exact_length == entry.length)
        return self._report(ids, 0, known, path, self._why(ids, chain, known, path))

    def snapshot_lengths(self, begin: int, end: int, known: int) -> list[int]:
        """The lengths between `begin` and `end` after which a call's state should be kept."""
        first = begin // self.every + 1
        wanted = {*range(first * self.every, end + 1, self.every)}
        wanted |= {length // self._unit * self._unit for length in (known, end - 1)}
        return sorted(length for length in wanted if begin < length <= end)

    def keep(self, state: State) -> None:
        """Keep the present state, which ends with a page, if it is of use to others."""
        chain = self._chain(state)
        if state.length % self._page or len(chain) * self._page != state.length:
            return
        entry = self._tree.find(chain[-1]) if chain else None
        if entry is not None:
            self._tree.touch(entry, self._clock)
        elif chain:
            try:
                snapshot = self._store.take_snapshot(state)
            except MemoryBudgetError:
                self._counts["not_kept"] += 1
                return
            entry = self._tree.add(snapshot, chain, state.pages, self._clock)
            entry.exact_length = min(state.exact_length, state.length)

    def entries(self, state: State) -> dict[int, Entry]:
        """The kept states of a sequence's own prefixes, by length."""
        found = (self._tree.find(digest) for digest in self._chain(state))
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
            "cached_tokens": self._page * sum(len(entry.digests) for entry in self._tree),
            "snapshots": {"used": snapshots.used, "total": snapshots.count},
            "lookups": self._counts["lookups"],
            "hits": self._counts["hits"],
            "prompt_tokens": self._counts["prompt_tokens"],
            "hit_tokens": self._counts["hit_tokens"],
            "misses": {miss.value: count for miss, count in self._misses.items()},
            "evictions": self._tree.evictions,
            "not_kept": self._counts["not_kept"],
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
        self._store.tokens[state.slot, : entry.length] = ids[: entry.length]
        state.spans = PathSpans(((entry.length, path),))
        state.exact_length = entry.exact_length
        return True

    def _why(self, ids: np.ndarray, chain: list[bytes], known: int, path: str) -> Miss:
        """The reason why nothing is reusable."""
        if len(ids) <= self._unit:
            return Miss.TOO_SHORT
        if known:
            return Miss.NO_SNAPSHOT
        others = (other for other in self._seeds if other != path)
        if any(self._tree.covers(self._chain_of(ids[: self._page], each)[0]) for each in others):
            return Miss.OTHER_PATH
        if chain[0] in self._tree.evicted:
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

    def _chain(self, state: State) -> list[bytes]:
        """The digests at the page boundaries, as far as all tokens have one attention path."""
        if not state.spans.ends:
            return []
        end, path = state.spans.ends[0]
        del state.page_hashes[end // self._page :]
        end = min(end, state.known_length)
        begin, end = len(state.page_hashes) * self._page, end // self._page * self._page
        text = self._store.token_ids(state)[begin:end]
        last = state.page_hashes[-1] if state.page_hashes else self._seeds[path]
        state.page_hashes += self._links(last, text)
        return state.page_hashes

    def _chain_of(self, ids: np.ndarray, path: str) -> list[bytes]:
        return self._links(self._seeds[path], ids)

    def _links(self, last: bytes, ids: np.ndarray) -> list[bytes]:
        links: list[bytes] = []
        for page in np.ascontiguousarray(ids, np.int32).reshape(-1, self._page):
            last = _digest(last, page.tobytes())
            links.append(last)
        return links


def _digest(before: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(before + data, digest_size=_DIGEST_BYTES).digest()
