"""Where the compiler reports its progress; the command line shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Receives how many more units are done."""


class Progress(Protocol):
    """Shown work: one stage after the other."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, *, unit: str = "") -> Iterator[Advance]:
        """Work of `total` units (unknown without); "B" as unit means bytes."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, *, unit: str = "") -> Iterator[Advance]:
        """Ignore every report."""
        yield lambda count: None
