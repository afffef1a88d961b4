"""Sides of a kernel benchmark, each in a process of its own, asked for samples in turn."""

import time
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from benchmarks.kernels.linear_cases import Work
from sala_compile.runtime.common.timing import Sample, sample

SETTLE_SECONDS = 0.02
"""Threads of OpenMP spin about so long after their last work."""
Samples = dict[tuple[str, str], list[Sample]]
"""Side and name of a work -> its samples."""


class Side(Protocol):
    """Works by name; `scales` has the bytes or operations of those that show a ceiling."""

    works: Mapping[str, Work]
    scales: Mapping[str, int]


class SideProcess:
    """A process that holds a side and works only while it is asked."""

    def __init__(self, make: Callable[[], Side], clock: str = "wall") -> None:
        """Start the process and wait until every work was done once; `make` is pickled."""
        spawn = get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(make, clock, theirs), daemon=True)
        process.start()
        theirs.close()  # so that its end is seen here
        self.names, self.scales = self._receive()

    def sample(self, name: str) -> Sample:
        """Time one work."""
        self._pipe.send(name)
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise SystemExit("a side's process ended early; its error stands above") from None


def take_turns(
    sides: Mapping[str, SideProcess], asked: Iterable[tuple[str, str]], seconds: float, least: int
) -> Samples:
    """Samples of all that is asked, in turn, for some time and at least so many of each."""
    samples: Samples = {each: [] for each in asked}
    end, turns = time.monotonic() + seconds, 0
    while turns < least or time.monotonic() < end:
        turns += 1
        for side, name in samples:
            samples[side, name].append(sides[side].sample(name))
    return samples


def computed(work: Work) -> Sample:
    """Run `work` once and count the time that this process computed."""
    start = time.process_time()
    work()
    return Sample(time.process_time() - start, 0.0)


def _serve(make: Callable[[], Side], clock: str, pipe: Connection) -> None:
    side = make()
    take = {"wall": sample, "cpu": computed}[clock]
    for work in side.works.values():
        work()
    pipe.send((tuple(side.works), dict(side.scales)))
    while (name := pipe.recv()) is not None:
        time.sleep(SETTLE_SECONDS)
        pipe.send(take(side.works[name]))
