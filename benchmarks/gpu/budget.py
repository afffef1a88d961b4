"""Time that a part may take: the next row is begun only if it will fit."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.gpu.results import Document

STOPPED = 75
"""Exit code of a part that has rows left: another call goes on."""
SPREAD = 1.3
"""Times that a row may take of what was predicted for it."""

Row = tuple[str, Callable[[], dict[str, Any]]]
"""A name, and what measures it."""


class Stopped(SystemExit):
    """No time is left, or SIGTERM came; what was measured is written."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


class Budget:
    """Seconds from now on, by a clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - self.clock()

    def require(self, predicted: float | None) -> None:
        """Stopped unless what is predicted fits; what nobody can predict is begun."""
        needed = 0.0 if predicted is None else SPREAD * predicted
        if self.left <= needed:
            print(f"stopped: {self.left:.1f} s are left, {needed:.1f} s needed", flush=True)
            raise Stopped


def process_age() -> float:
    """Seconds since this process began: loading torch counts too."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)


def like_the_last(times: Sequence[float]) -> float | None:
    """The next of rows that are alike: the longer of the last two; None before the first."""
    return max(times[-2:], default=None)


def measure(document: Document, budget: Budget, rows: Iterable[Row]) -> None:
    """Measure and write the rows that are not there, in order, as long as they fit.

    What a row raises is written as one that did not hold, and raised: a GPU that failed once fails
    until the process ends.
    """
    times: list[float] = []
    for name, work in rows:
        if name in document:
            continue
        budget.require(like_the_last(times))
        begin = budget.clock()
        try:
            row = work()
        except Exception as error:
            document.add(name, passed=False, error=f"{type(error).__name__}: {error}")
            raise
        times.append(budget.clock() - begin)
        document.add(name, **row, took_seconds=times[-1])
        print(document.rows[-1], flush=True)


def stop_when_told() -> None:
    """Have SIGTERM raise Stopped in the main thread, so that everything is closed in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
