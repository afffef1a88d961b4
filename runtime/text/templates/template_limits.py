"""What rendering a chat template may cost: steps, time, memory, depth.

Nothing in a template is trusted. Everything that it computes passes here, so that each value is
small enough for the next operation to end soon, and the sum of all is bounded.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from sala_compile.runtime.common.json_text import is_object

STEPS = 1_000_000
STEPS_OF_A_VALUE = 1000
SECONDS = 1.0
SECONDS_OF_A_VALUE = 1e-4
BYTES = 32 << 20
BYTES_OF_A_BYTE = 24
"""In addition to the first amounts, so much more for each value and byte that the caller gives."""
DEPTH = 100
"""Macros in macros, and lists in lists."""
BITS = 4096
"""Bits of the largest integer."""
VALUE_BYTES = 64
"""Bytes of a value at least, counted wherever it is repeated."""
_NOTE_BYTES = 256
"""Bytes to note a list's size."""
_EMPTY: dict[str, int] = {}
_VIEWS = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))


class TemplateLimitError(Exception):
    """A template that would exceed its limits."""


class Budget:
    """The rest of the budget of one rendering. Every method raises TemplateLimitError beyond it."""

    def __init__(self, *inputs: Any) -> None:
        """For a rendering of `inputs`, plain values; its cost may be proportional to their size."""
        self._known: dict[int, tuple[Any, int, int]] = {}
        self._largest = sys.maxsize
        size = sum(self._measure(value)[0] for value in inputs)
        values = size // VALUE_BYTES
        self._bytes = self._largest = BYTES + BYTES_OF_A_BYTE * size
        self._steps = STEPS + STEPS_OF_A_VALUE * values
        self._seconds = SECONDS + SECONDS_OF_A_VALUE * values
        self._end = time.thread_time() + self._seconds
        self._depth = 0

    def step(self, count: int = 1) -> None:
        """One operation more, or `count` of them."""
        self._steps -= count
        if self._steps < 0:
            raise TemplateLimitError("it takes too many steps")
        if time.thread_time() > self._end:
            raise TemplateLimitError(f"it takes more than {self._seconds:.1f} s")

    def fits(self, nbytes: int) -> None:
        """An operation is about to make so much."""
        if nbytes > self._bytes:
            raise TemplateLimitError("it makes too much text")

    def take(self, nbytes: int) -> None:
        """Count `nbytes` that were made."""
        self._bytes -= nbytes
        self.fits(0)

    def size(self, value: Any) -> int:
        """Bytes of `value` with all that is in it, as often as it is in it."""
        return self._measure(value)[0]

    def depth(self, value: Any) -> int:
        """How deeply lists and dictionaries are nested in `value`."""
        return self._measure(value)[1]

    def made(self, value: Any) -> Any:
        """The result of an operation: measured and counted; an iterator counts its items."""
        if isinstance(value, Iterator):
            return self._counted(cast("Iterator[Any]", value))
        self._measure(value)
        noted = _NOTE_BYTES if _is_container(value) else 0
        self.take(sys.getsizeof(value) + noted)
        return value

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """A call inside of others."""
        if self._depth == DEPTH:
            raise TemplateLimitError("its macros call each other without an end")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _counted(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.step()
            self._measure(item)
            yield item

    def _measure(self, value: Any) -> tuple[int, int]:
        """Bytes and depth; lists and dictionaries, which no template changes, are noted."""
        if isinstance(value, str | bytes):
            return sys.getsizeof(value), 0
        if isinstance(value, int):
            if value.bit_length() > BITS:
                raise TemplateLimitError("it makes too large a number")
            return VALUE_BYTES, 0
        if _is_container(value):
            known = self._known.get(id(value))
            if known is None:
                parts = [*value, *value.values()] if is_object(value) else value
                known = self._known[id(value)] = (value, *self._measure_parts(parts))
            return known[1], known[2]
        return self._measure_parts(value) if isinstance(value, _VIEWS) else (VALUE_BYTES, 0)

    def _measure_parts(self, parts: Any) -> tuple[int, int]:
        size, depth = VALUE_BYTES, 0
        for part in parts:
            part_size, part_depth = self._measure(part)
            size, depth = size + max(part_size, VALUE_BYTES), max(depth, part_depth)
        if size > self._largest:
            raise TemplateLimitError("it repeats values in each other too often")
        if depth >= DEPTH:
            raise TemplateLimitError("it puts too many lists into each other")
        return size, depth + 1


_current: ContextVar[Budget] = ContextVar("budget")


def budget() -> Budget:
    """The budget of what is being compiled or rendered."""
    return _current.get()


@contextmanager
def within(limits: Budget) -> Iterator[None]:
    """Compile or render within a budget."""
    token = _current.set(limits)
    try:
        yield
    finally:
        _current.reset(token)


def _is_container(value: Any) -> bool:
    """Whether the parts of a value are noted, so that they are measured once."""
    return isinstance(value, list | tuple | dict)
