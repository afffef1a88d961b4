"""Where prefixes are kept that memory has no room for, or that shall outlive the process."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sala_compile.runtime.state.page_groups import Pages
from sala_compile.runtime.state.prefix_tree import Entry
from sala_compile.runtime.state.store import Snapshot
from sala_compile.runtime.state.text_history import TextHistory

Restore = Callable[[Snapshot, TextHistory, Pages], bool]
"""Takes over a snapshot for the cache, and shares pages; False if the prefix is there already."""


class Recall(Protocol):
    """A prefix on its way back into memory."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing to wait for: it is there, or cannot be brought."""
        ...


class LowerTier(Protocol):
    """Keeps copies of the entries of a prefix cache, and brings them back.

    Called by the thread that owns the engine, between its steps. Every call takes a bounded time.
    """

    @property
    def busy(self) -> bool:
        """Whether a `turn` has something to do, or will have soon."""
        ...

    def kept(self, entry: Entry) -> None:
        """Note a new entry."""
        ...

    def used(self, entry: Entry) -> None:
        """Note that an entry was of use."""
        ...

    def evicted(self, entry: Entry) -> None:
        """Note that an entry leaves memory: its pages and its snapshot are others' from now on."""
        ...

    def tails(self, boundary: bytes) -> Sequence[int]:
        """How many tokens prefixes have after the whole pages of this digest, the longest first."""
        ...

    def recall(self, text: bytes, exact: bool, restore: Restore) -> Recall | None:
        """Begin to bring the prefix of a text, if it is here and there is room; else None.

        With `exact` only one whose tokens were all read as one prompt is.
        """
        ...

    def info(self) -> dict[str, Any]:
        """Sizes, and counters of what was written, brought back, and not."""
        ...

    def turn(self) -> bool:
        """Move a bounded number of bytes in each direction; whether more could be moved at once."""
        ...
