"""Carries the events of jobs from the engine's thread to the event loop of their requests."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from sala_compile.runtime.serving.work.event import Event

Letter = tuple[int, Sequence[Event]]
"""The number of a job among those of its request, and its events of a turn."""


class EventPost:
    """One for an event loop: whatever a turn of the engine brings wakes the loop once, at its end.

    The two threads would wait for each other if the loop began before the turn ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: deque[tuple[EventBox, Letter]] = deque()

    def add(self, box: "EventBox", letter: Letter) -> None:
        """Take a letter, on the engine's thread."""
        self._letters.append((box, letter))

    def send(self) -> None:
        """Hand over what was taken, on the engine's thread; a loop that is gone drops it."""
        if self._letters and not self._loop.is_closed():
            with suppress(RuntimeError):  # it was closed just now
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._letters:
            box, letter = self._letters.popleft()
            box.put(letter)


class EventBox:
    """The events of the jobs of one request, in the order in which they came."""

    def __init__(self, post: EventPost) -> None:
        self._post = post
        self._letters: deque[Letter] = deque()
        self._arrived = asyncio.Event()

    def sink(
        self, number: int, watch: Callable[[Sequence[Event]], None]
    ) -> Callable[[Sequence[Event]], None]:
        """What the job of that number tells its events, on the engine's thread.

        `watch` sees them there first.
        """

        def tell(events: Sequence[Event]) -> None:
            watch(events)
            self._post.add(self, (number, events))

        return tell

    def put(self, letter: Letter) -> None:
        """Take a letter; on the loop."""
        self._letters.append(letter)
        self._arrived.set()

    async def arrival(self) -> None:
        """Wait until there is a letter."""
        await self._arrived.wait()

    def first_events(self) -> Sequence[Event]:
        """Those of the first letter, which stays."""
        return self._letters[0][1] if self._letters else ()

    def take(self) -> list[Letter]:
        """All letters that are there, those of a job joined to one."""
        self._arrived.clear()
        if len(self._letters) == 1:
            return [self._letters.popleft()]
        found: dict[int, list[Event]] = {}
        while self._letters:
            number, events = self._letters.popleft()
            found.setdefault(number, []).extend(events)
        return list(found.items())
