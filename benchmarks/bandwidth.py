"""The bandwidth of memory: all threads read a buffer that no cache holds, beside what is measured.

The reader runs in a process of its own (`engines.Worker`), idle until it is asked.
"""

from functools import partial
from typing import Any

from benchmarks.engines import Worker
from benchmarks.machine import READ_BYTES
from sala_compile.runtime.common.timing import summarise

ROUNDS = 8


class ReadEngine:
    """An engine whose `append` reads the buffer once."""

    def __init__(self, threads: int) -> None:
        """Compile the reading kernel for this machine, and touch the buffer."""
        from benchmarks.kernels.ceilings import CeilingWorks
        from benchmarks.threads import use_threads
        from sala_compile.codegen.targets.cpu import CpuTarget
        from sala_compile.runtime.artifact.ceilings import Ceiling

        use_threads(threads)
        ceilings = CeilingWorks(CpuTarget.host(), threads, arithmetic=False)
        self._read = ceilings.works[Ceiling.READ]

    def reset(self) -> None:
        """Nothing is kept from one reading to the next."""

    def append(self, token_ids: list[int]) -> Any:
        """Read the buffer once; there are no logits."""
        self._read()


class BandwidthProbe:
    """Measures the bandwidth of reading whenever it is asked."""

    def __init__(self, threads: int) -> None:
        """Start the reading process."""
        self._worker = Worker(partial(ReadEngine, threads))

    def measure(self) -> float:
        """Bytes per second, the median of clean readings (of all where none was clean)."""
        samples = [self._worker.timed([[]]) for _ in range(ROUNDS)]
        return READ_BYTES / summarise(samples).median

    def close(self) -> None:
        """End the process."""
        self._worker.close()
