"""Which replica a request goes to: where the longest beginning of its prompt lies, if not too busy.

Nothing here knows Ray: the router, its simulation and its tests use this one class.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MOST_MARKS = 1024
"""Digests that are noted of one request; of a longer prompt some pages are left out."""


@dataclass(frozen=True, slots=True)
class ChoiceRule:
    """When a replica that knows a beginning is preferred.

    While its queue is at most `factor` times the shortest one and `slack` more requests, and the
    beginning is at least `share` of the prompt's pages. What was sent to a replica counts as held
    for `doubt` seconds, within which the replica publishes what it holds.
    """

    factor: float = 2.0
    slack: int = 4
    share: float = 0.1
    doubt: float = 30.0


@dataclass(slots=True)
class _Replica:
    """What is known of one: digests that it published, and the time until which others count."""

    published: frozenset[bytes]
    sent: OrderedDict[bytes, float]
    version: object = None


class ReplicaChoice:
    """A tree of the pages that replicas hold. For one thread.

    A page is named by the digest of the whole text up to its end, so that the nodes of the tree,
    and who holds them, are one dictionary: a prompt's path through it are its own digests.
    """

    def __init__(
        self,
        rule: ChoiceRule | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        """Without replicas; `clock` in seconds."""
        self.rule = rule or ChoiceRule()
        self._clock = clock
        self._random = random.Random(seed)
        self._replicas: dict[str, _Replica] = {}
        self._holders: dict[bytes, set[str]] = {}

    @property
    def replicas(self) -> frozenset[str]:
        """The replicas that are there."""
        return frozenset(self._replicas)

    def __len__(self) -> int:
        """The number of pages that some replica holds."""
        return len(self._holders)

    def retain(self, replicas: Sequence[str]) -> None:
        """Let these be all replicas: new ones hold nothing, what others held is forgotten."""
        for gone in self._replicas.keys() - set(replicas):
            self.drop(gone)
        for name in replicas:
            self._replicas.setdefault(name, _Replica(frozenset(), OrderedDict()))

    def drop(self, replica: str) -> None:
        """Forget a replica, if it is there."""
        known = self._replicas.pop(replica, None)
        if known is not None:
            for digest in known.published | known.sent.keys():
                self._release(digest, replica)

    def publish(self, replica: str, held: Sequence[bytes], version: object = None) -> None:
        """Note what a replica says that it holds, in the place of what it said before.

        A `version` that was noted already changes nothing, nor does a replica that is not there.
        """
        known = self._replicas.get(replica)
        if known is None or (version is not None and version == known.version):
            return
        known.version = version
        before, known.published = known.published, frozenset(held)
        for digest in known.published - before:
            self._holders.setdefault(digest, set()).add(replica)
        for digest in before - known.published - known.sent.keys():
            self._release(digest, replica)
        self._expire(replica, known)

    def sent(self, replica: str, pages: Sequence[bytes]) -> None:
        """Note that a request with these pages went to a replica, which will hold them soon."""
        known = self._replicas.get(replica)
        if known is None:
            return
        until = self._clock() + self.rule.doubt
        step = -(-len(pages) // MOST_MARKS) or 1
        for digest in pages[::-step]:
            known.sent[digest] = until
            known.sent.move_to_end(digest)
            self._holders.setdefault(digest, set()).add(replica)
        self._expire(replica, known)

    def matched(self, replica: str, pages: Sequence[bytes]) -> int:
        """How many of the first pages of a prompt a replica holds."""
        for number in range(len(pages), 0, -1):
            if replica in self._holders.get(pages[number - 1], ()):
                return number
        return 0

    def rank(self, pages: Sequence[bytes], queues: Mapping[str, int]) -> list[list[str]]:
        """Groups of replicas, the best first; of a group, the one with the shortest queue.

        `pages` are the digests of a prompt's pages, `queues` how many requests each replica has,
        of those that may be chosen.
        """
        if not queues:
            return []
        shortest = min(queues.values())
        longest = self.rule.factor * shortest + self.rule.slack
        least = max(1, self.rule.share * len(pages))
        for number in range(len(pages), 0, -1):
            if number < least:
                break
            holders = self._holders.get(pages[number - 1])
            if holders is None:
                continue
            able = [name for name in holders if queues.get(name, longest + 1) <= longest]
            if able:
                return [able, self._idle(queues, shortest), [*queues]]
        return [self._idle(queues, shortest), [*queues]]

    def _idle(self, queues: Mapping[str, int], shortest: int) -> list[str]:
        """One of the replicas with the shortest queue."""
        return [self._random.choice([name for name, queue in queues.items() if queue == shortest])]

    def _expire(self, replica: str, known: _Replica) -> None:
        now = self._clock()
        while known.sent:
            digest, until = next(iter(known.sent.items()))
            if until > now:
                return
            del known.sent[digest]
            if digest not in known.published:
                self._release(digest, replica)

    def _release(self, digest: bytes, replica: str) -> None:
        holders = self._holders.get(digest)
        if holders is not None:
            holders.discard(replica)
            if not holders:
                del self._holders[digest]
