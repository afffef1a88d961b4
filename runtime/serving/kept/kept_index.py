"""Which prefixes are on disk: a tree of pages, and states after some of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sala_compile.runtime.serving.kept.kept_file import KeptHeader, KeptKind
from sala_compile.runtime.state.eviction import EvictionQueue, Key


@dataclass(eq=False, slots=True)
class KeptPages:
    """A file with the pages of a prefix beyond those of its parent.

    `needed` counts those who need the pages: children, states, and who reads or continues them.
    """

    header: KeptHeader
    parent: "KeptPages | None"
    needed: int = 0

    def ancestry(self) -> "list[KeptPages]":
        """The files of the whole prefix, from its beginning on."""
        path: list[KeptPages] = []
        pages: KeptPages | None = self
        while pages is not None:
            path.append(pages)
            pages = pages.parent
        return path[::-1]


@dataclass(eq=False, slots=True)
class KeptState:
    """A file with the state after a prefix, whose full pages are `pages`; None if it has none.

    `used` is the time of its last use. `holds` counts who reads it or wants it to stay.
    """

    header: KeptHeader
    pages: KeptPages | None
    used: float
    holds: int = 0

    def ancestry(self) -> list[KeptPages]:
        """The files of all full pages, from the beginning on."""
        return [] if self.pages is None else self.pages.ancestry()


class KeptIndex:
    """Files by their keys and names. For one thread at a time.

    What is dropped from it is returned: the headers of files that are to be removed.
    """

    def __init__(self, identity: str) -> None:
        """An empty one; `identity` is that of the model whose prefixes are looked up."""
        self._identity = identity
        self._pages: dict[str, KeptPages] = {}
        self._states: dict[str, KeptState] = {}
        self._texts: dict[str, list[KeptState]] = {}
        self._tails: dict[str, Counter[int]] = {}
        self._queue = EvictionQueue(self._key, self._states.values)
        self.nbytes = 0

    def __len__(self) -> int:
        """The number of files."""
        return len(self._pages) + len(self._states)

    @property
    def states(self) -> int:
        """The number of states."""
        return len(self._states)

    def pages(self, header: KeptHeader | str) -> KeptPages | None:
        """The pages whose file has this stem, or that of this header."""
        return self._pages.get(header if isinstance(header, str) else header.stem)

    def state(self, header: KeptHeader) -> KeptState | None:
        """The state whose file has the name of this header."""
        return self._states.get(header.stem)

    def named_state(self, stem: str) -> KeptState | None:
        """The state whose file has this stem."""
        return self._states.get(stem)

    def names(self) -> set[str]:
        """The names of all files."""
        return {each.header.name for each in (*self._pages.values(), *self._states.values())}

    def named(self, name: str) -> KeptHeader | None:
        """The header of the file with this name."""
        stem, _, kind = name.partition(".")
        found = (self._states if kind == KeptKind.STATE else self._pages).get(stem)
        return None if found is None else found.header

    def bytes_of(self, states: Sequence[KeptState]) -> int:
        """Bytes of some states and of the pages before them, each counted once."""
        found = {each.header.name: each.header.nbytes for each in states}
        for state in states:
            found |= {each.header.name: each.header.nbytes for each in state.ancestry()}
        return sum(found.values())

    def of_text(self, text: bytes, exact: bool) -> KeptState | None:
        """The state after a text: that which was read, else unless `exact` the newest generated."""
        found = self._texts.get(text.hex(), [])
        read = next((state for state in found if state.header.exact), None)
        return read if read is not None or exact or not found else found[-1]

    def tails(self, boundary: bytes) -> list[int]:
        """How many tokens there are after these whole pages, before states; the longest first."""
        return sorted(self._tails.get(boundary.hex(), ()), reverse=True)

    def add_pages(self, header: KeptHeader, parent: KeptPages | None) -> KeptPages:
        """Add pages, whose parent is there; somebody needs them from now on."""
        pages = self._pages[header.stem] = KeptPages(header, parent, needed=1)
        if parent is not None:
            parent.needed += 1
        self.nbytes += header.nbytes
        return pages

    def add_state(self, header: KeptHeader, pages: KeptPages | None, used: float) -> KeptState:
        """Add a state, whose pages are there."""
        state = self._states[header.stem] = KeptState(header, pages, used)
        if pages is not None:
            pages.needed += 1
        if header.identity == self._identity:
            self._enter(state)
        self.nbytes += header.nbytes
        self._queue.push(state)
        return state

    def has(self, pages: KeptPages | None) -> bool:
        """Whether pages are still there; None always is."""
        return pages is None or self.pages(pages.header) is pages

    def least_used(self) -> KeptState | None:
        """The state that is to go first, of those that nobody holds."""
        return self._queue.pop()

    def let_go(self, state: KeptState) -> None:
        """Hold a state once less."""
        state.holds -= 1
        self._queue.push(state)

    def drop_state(self, state: KeptState) -> list[KeptHeader]:
        """Drop a state, and the pages that nobody else needs."""
        if self.state(state.header) is not state:
            return []
        del self._states[state.header.stem]
        if state.header.identity == self._identity:
            self._leave(state)
        self._queue.remove(state)
        self.nbytes -= state.header.nbytes
        return [state.header, *self.need_less(state.pages)]

    def need_less(self, pages: KeptPages | None) -> list[KeptHeader]:
        """Note that pages are needed once less, and drop them if nobody needs them."""
        gone: list[KeptHeader] = []
        while pages is not None:
            pages.needed -= 1
            if pages.needed or not self.has(pages):
                break
            gone.append(self._drop(pages))
            pages = pages.parent
        return gone

    def drop_damaged(self, header: KeptHeader) -> list[KeptHeader]:
        """Drop a file, and all that continues it."""
        if header.kind is KeptKind.STATE:
            state = self.state(header)
            return [] if state is None else self.drop_state(state)
        damaged = self.pages(header)
        if damaged is None:
            return []
        below = [each for each in self._pages.values() if damaged in each.ancestry()]
        states = [each for each in self._states.values() if each.pages in below]
        damaged.needed += 1
        gone = [header for state in states for header in self.drop_state(state)]
        gone += [self._drop(each) for each in below if self.has(each)]  # held ones as well
        return gone + self.need_less(damaged.parent)

    def sweep(self) -> list[KeptHeader]:
        """Need all pages once less, after the files of a directory were added."""
        found = sorted(self._pages.values(), key=lambda pages: -pages.header.end)
        return [header for pages in found for header in self.need_less(pages)]

    def _enter(self, state: KeptState) -> None:
        """Let a state be found by its text."""
        header = state.header
        self._texts.setdefault(header.text, []).append(state)
        if header.end > header.begin:
            tails = self._tails.setdefault(header.boundary, Counter())
            tails[header.end - header.begin] += 1

    def _leave(self, state: KeptState) -> None:
        header = state.header
        found = self._texts[header.text]
        found.remove(state)
        if not found:
            del self._texts[header.text]
        if header.end > header.begin:
            tails = self._tails[header.boundary]
            tails[header.end - header.begin] -= 1
            tails += Counter()  # drops those that are 0
            if not tails:
                del self._tails[header.boundary]

    def _drop(self, pages: KeptPages) -> KeptHeader:
        del self._pages[pages.header.stem]
        self.nbytes -= pages.header.nbytes
        return pages.header

    def _key(self, state: KeptState) -> Key | None:
        is_free = self.state(state.header) is state and not state.holds
        return (state.used,) if is_free else None
