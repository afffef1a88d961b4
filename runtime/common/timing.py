"""Timing on a shared machine: a sample counts only when our threads had the CPUs to themselves."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERFERENCE_LIMIT = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """Wall time in seconds, and the fraction of it that our threads waited for a CPU."""

    seconds: float
    waited: float

    @property
    def clean(self) -> bool:
        """True if nobody else took our CPUs while this sample ran."""
        return self.waited < INTERFERENCE_LIMIT


class Stopwatch:
    """Takes samples one after the other: each lasts from the one before it."""

    def __init__(self) -> None:
        """Start."""
        self._waited, self.began = waited_seconds(), time.perf_counter()

    def lap(self) -> Sample:
        """The sample since the start, or since the last lap."""
        now = time.perf_counter()
        waited, seconds = waited_seconds(), now - self.began
        taken = Sample(seconds, (waited - self._waited) / seconds)
        self._waited, self.began = waited, time.perf_counter()
        return taken


def waited_seconds() -> float:
    """Time that all threads of this process have spent runnable but not running."""
    waited = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            waited += int(path.read_text().split()[1])
        except OSError:
            continue
    return waited / 1e9


def sample(work: Callable[[], object]) -> Sample:
    """Run `work` once and time it."""
    watch = Stopwatch()
    work()
    return watch.lap()


@dataclass(frozen=True, slots=True)
class Summary:
    """Median seconds of the clean samples; of all samples, and marked so, if none was clean."""

    median: float
    clean: int
    total: int

    def __str__(self) -> str:
        """Render the count of clean samples, the part that says how far to trust the median."""
        return f"{self.clean}/{self.total} clean"


def summarise(samples: Sequence[Sample]) -> Summary:
    """Reduce samples to their median, preferring clean ones."""
    clean = [each.seconds for each in samples if each.clean]
    median = statistics.median(clean or [each.seconds for each in samples])
    return Summary(median, len(clean), len(samples))
