"""Whose turn it is: jobs of a larger priority first, then those of the client served least."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_REMEMBERED = 1024
"""Clients whose service is remembered while they have no jobs."""


class Waiter(Protocol):
    """What waits for its turn."""

    @property
    def client(self) -> str:
        """Whom it is for."""
        ...

    @property
    def priority(self) -> int:
        """The larger, the earlier."""
        ...

    @property
    def number(self) -> int:
        """The place of its arrival."""
        ...


Item = TypeVar("Item", bound=Waiter)


class Shares:
    """How much each client was served, in tokens.

    A client that comes back is taken to have had at least what the one with the least had
    meanwhile, so that nobody saves turns up.
    """

    def __init__(self) -> None:
        """Nobody was served."""
        self._served: dict[str, float] = {}
        self._jobs: dict[str, int] = {}

    def enter(self, client: str) -> None:
        """Note a job of a client that waits or runs from now on."""
        if not self._jobs.get(client):
            least = min((self._served[each] for each in self._jobs), default=0.0)
            self._served[client] = max(self._served.pop(client, 0.0), least)
        self._jobs[client] = self._jobs.get(client, 0) + 1

    def leave(self, client: str) -> None:
        """Note the end of a job."""
        self._jobs[client] -= 1
        if self._jobs[client] == 0:
            del self._jobs[client]
            self._forget()

    def charge(self, client: str, tokens: int) -> None:
        """Note tokens that were read or chosen for a client."""
        self._served[client] += tokens

    def served(self, client: str) -> float:
        """The tokens that a client had; 0 if it is not known."""
        return self._served.get(client, 0.0)

    def order(self, item: Waiter) -> tuple[float, float, int]:
        """Sorts what comes first to the front."""
        return -item.priority, self.served(item.client), item.number

    def _forget(self) -> None:
        """Remember only the newest of the clients without jobs."""
        idle = [client for client in self._served if client not in self._jobs]
        for client in idle[: max(0, len(idle) - _REMEMBERED)]:
            del self._served[client]


class FairQueue(Generic[Item]):
    """What waits, in the order of `Shares`."""

    def __init__(self, shares: Shares) -> None:
        """Nothing waits."""
        self._shares = shares
        self._items: dict[int, Item] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._items)

    def __contains__(self, item: Item) -> bool:
        """Whether an item waits."""
        return item.number in self._items

    def __iter__(self) -> Iterator[Item]:
        """All that wait, in their turn."""
        return iter(sorted(self._items.values(), key=self._shares.order))

    def all(self) -> list[Item]:
        """All that wait, by arrival."""
        return [*self._items.values()]

    def add(self, item: Item) -> None:
        """Let an item wait."""
        self._items[item.number] = item

    def remove(self, item: Item) -> None:
        """Take an item out."""
        del self._items[item.number]
