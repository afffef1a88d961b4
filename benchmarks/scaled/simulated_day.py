"""A day of requests over many replicas, with the real class that chooses one.

A replica reads one prompt at a time, answers a batch at a time, and holds pages up to a size, the
least used going first. States to continue from are where the server keeps them: every so many
pages, at the end of a prompt and at the end of an answer. What it holds is published now and then.
"""

import heapq
import random
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sala_compile.runtime.serving.ray.replica_choice import ChoiceRule, ReplicaChoice

PAGE = 64
EVERY = 64
DAY = 86400.0
MOST_HELD = 4096


@dataclass(frozen=True, slots=True)
class Sizes:
    """The cluster and its load; rates in tokens/s of one replica, `cache` in tokens of each."""

    replicas: int = 64
    sessions: int = 15000
    seconds: float = DAY
    read_rate: float = 500.0
    answer_rate: float = 10.0
    batch: int = 8
    cache: int = 1 << 19
    documents: int = 2000
    applications: int = 20
    publish_seconds: float = 60.0


@dataclass(slots=True)
class Turn:
    """A request: the digests of its prompt's pages, and of those after its answer."""

    at: float
    pages: list[bytes]
    after: list[bytes]
    prompt: int
    answer: int
    rest: "Session | None" = None


class Session:
    """A conversation: an application's opening, a document for some, then turns."""

    def __init__(self, number: int, sizes: Sizes, draw: random.Random) -> None:
        application = draw.randrange(sizes.applications)
        begin = _pages(f"a{application}", 512 + 256 * (application % 6))
        if draw.random() < 0.3:
            document = min(int(draw.paretovariate(0.6)) - 1, sizes.documents - 1)
            tokens = 8192 * (1 + document * 7919 % 8)
            begin = begin + _pages(f"a{application}d{document}", tokens)
        self.turns = min(1 + int(draw.expovariate(1 / 5.6)), 40)
        self._begin = begin
        self._name = f"s{number}"
        self._own = 0
        self._draw = draw

    def turn(self, at: float) -> Turn:
        """The next request, at a time."""
        self.turns -= 1
        asked, answer = self._draw.randint(50, 400), self._draw.randint(100, 300)
        self._own += asked
        prompt = len(self._begin) * PAGE + self._own
        pages = self._begin + _pages(self._name, self._own)
        self._own += answer
        after = self._begin + _pages(self._name, self._own)
        return Turn(at, pages, after, prompt, answer, self if self.turns > 0 else None)

    def pause(self) -> float:
        """Seconds between an answer and the next message."""
        return self._draw.expovariate(1 / 60)


def _pages(name: str, tokens: int) -> list[bytes]:
    return [f"{name}.{number}".encode() for number in range(tokens // PAGE)]


@dataclass(slots=True)
class Replica:
    """What one holds and does."""

    pages: OrderedDict[bytes, bool] = field(default_factory=OrderedDict[bytes, bool])
    reading_until: float = 0.0
    running: int = 0
    waiting: deque[Turn] = field(default_factory=deque[Turn])
    changed: bool = False

    def cached(self, pages: list[bytes]) -> int:
        """Tokens up to the longest state of a prompt's pages."""
        held = self.pages
        for number in range(len(pages), 0, -1):
            if held.get(pages[number - 1]):
                return number * PAGE
        return 0

    def hold(self, turn: Turn, most: int) -> None:
        """Keep the pages of a prompt and its answer, with the states that a server keeps."""
        held = self.pages
        ends = {len(turn.pages) - 1, len(turn.after) - 1}
        for number in range(len(turn.after) - 1, -1, -1):
            page = turn.after[number]
            state = held.get(page, False) or number in ends or (number + 1) % EVERY == 0
            held[page] = state
            held.move_to_end(page)
        while len(held) > most:
            held.popitem(last=False)
        self.changed = True

    def published(self) -> list[bytes]:
        """The states that were of use last."""
        self.changed = False
        return [page for page, state in self.pages.items() if state][-MOST_HELD:]


class Day:
    """One run with a way to choose a replica."""

    def __init__(self, sizes: Sizes, router: str, seed: int = 1) -> None:
        """`router` is "prefix" or "two choices", Ray's default."""
        self.sizes = sizes
        self._names = [f"r{number}" for number in range(sizes.replicas)]
        self._replicas = {name: Replica() for name in self._names}
        self._now = 0.0
        self._choice = ReplicaChoice(
            ChoiceRule(doubt=3 * sizes.publish_seconds), lambda: self._now, seed
        )
        self._choice.retain(self._names)
        self._draw = random.Random(seed)
        self._prefix = router == "prefix"
        self._queues = dict.fromkeys(self._names, 0)
        self._events: list[tuple[float, int, str, Any]] = []
        self._count = 0
        self.requests = self.prompt_tokens = self.cached_tokens = 0
        self.waits: list[float] = []
        self.firsts: list[float] = []
        self.costs: list[float] = []
        self.publishing = 0.0

    def run(self) -> dict[str, Any]:
        """Every request of the day; the measures."""
        draw = random.Random(7)
        for number, at in enumerate(_arrivals(self.sizes, draw)):
            self._push(at, "ask", Session(number, self.sizes, random.Random(number)))
        step = self.sizes.publish_seconds / self.sizes.replicas
        if self._prefix:
            for number, name in enumerate(self._names):
                self._push(number * step, "publish", name)
        while self._events:
            self._now, _, kind, what = heapq.heappop(self._events)
            getattr(self, f"_{kind}")(what)
        return self._measures()

    def _push(self, at: float, kind: str, what: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, self._count, kind, what))

    def _ask(self, session: Session) -> None:
        turn = session.turn(self._now)
        begun = time.thread_time()
        name = self._chosen(turn)
        self.costs.append(time.thread_time() - begun)
        self._queues[name] += 1
        self._replicas[name].waiting.append(turn)
        self._begin(name)

    def _chosen(self, turn: Turn) -> str:
        if self._prefix:
            group = self._choice.rank(turn.pages, self._queues)[0]
            name = min(group, key=self._queues.__getitem__)
            self._choice.sent(name, turn.pages)
            return name
        one, other = self._draw.sample(self._names, 2)
        return one if self._queues[one] <= self._queues[other] else other

    def _begin(self, name: str) -> None:
        replica, sizes = self._replicas[name], self.sizes
        while replica.waiting and replica.running < sizes.batch:
            turn = replica.waiting.popleft()
            replica.running += 1
            cached = min(replica.cached(turn.pages), turn.prompt - 1)
            start = max(self._now, replica.reading_until)
            replica.reading_until = start + (turn.prompt - cached) / sizes.read_rate
            self.requests += 1
            self.prompt_tokens += turn.prompt
            self.cached_tokens += cached
            self.waits.append(start - turn.at)
            self.firsts.append(replica.reading_until - turn.at)
            replica.hold(turn, sizes.cache // PAGE)
            end = replica.reading_until + turn.answer / sizes.answer_rate
            self._push(end, "end", (name, turn))

    def _end(self, what: tuple[str, Turn]) -> None:
        name, turn = what
        self._queues[name] -= 1
        self._replicas[name].running -= 1
        if turn.rest is not None and self._now < self.sizes.seconds:
            self._push(self._now + turn.rest.pause(), "ask", turn.rest)
        self._begin(name)

    def _publish(self, name: str) -> None:
        replica = self._replicas[name]
        if replica.changed:
            held = replica.published()
            begun = time.thread_time()
            self._choice.publish(name, held)
            self.publishing += time.thread_time() - begun
        if self._now < self.sizes.seconds:
            self._push(self._now + self.sizes.publish_seconds, "publish", name)

    def _measures(self) -> dict[str, Any]:
        costs = sorted(self.costs)
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "hit_rate": self.cached_tokens / self.prompt_tokens,
            "wait": _quantiles(self.waits),
            "first_token": _quantiles(self.firsts),
            "cost_mean": sum(costs) / len(costs),
            "cost_99": costs[int(0.99 * len(costs))],
            "publish_per_request": self.publishing / len(costs),
        }


def _arrivals(sizes: Sizes, draw: random.Random) -> Iterator[float]:
    """Times when conversations begin: three times as many at noon as at midnight."""
    count = 0
    while count < sizes.sessions:
        at = draw.random()
        if draw.random() < 1 - abs(2 * at - 1) * 2 / 3:
            count += 1
            yield at * sizes.seconds


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    names = {"median": 0.5, "p90": 0.9, "p99": 0.99}
    return {name: ordered[int(share * (len(ordered) - 1))] for name, share in names.items()}
