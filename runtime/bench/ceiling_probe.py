"""The ceilings of this machine, measured by kernels that an artifact has for that purpose."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import tvm_ffi

from sala_compile.runtime.artifact import ALIGNMENT, Artifact
from sala_compile.runtime.artifact.ceilings import (
    ARITHMETIC,
    FASTEST_CLOCK,
    MOST_PER_CYCLE,
    OPERATIONS,
    READ_MULTIPLE,
    RESULT_FLOATS,
    Ceiling,
    ceilings_path,
)
from sala_compile.runtime.common.timing import Sample, Summary, sample, summarise
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.errors import ArtifactError

READ_BYTES = 256 << 20
"""Bytes that are read at least, and no less than four times the largest cache."""
LEAST_SWEEP = 16 << 20
"""Bytes that are read at least to empty the caches."""
SAMPLE_SECONDS = 0.02
"""A sample of arithmetic lasts about so long: waking the threads takes no visible part of it."""
NEAR_READS = 4000
"""Times that `freedom` reads what a first-level cache holds: half a millisecond."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Bytes per second of reading memory, operations per second of each kind of arithmetic.

    `peak` is the best of the kinds that the artifact's element type can use.
    """

    bandwidth: float
    arithmetic: dict[str, float]
    peak: float
    read: Summary


class CeilingProbe:
    """Measures at each request, so that a change of the machine's speed shows.

    `kinds` are those of arithmetic that the artifact has kernels for.
    """

    def __init__(self, artifact: Artifact, target: str, threads: int) -> None:
        """Open the artifact's ceilings and take the memory; ArtifactError if there are none."""
        path = ceilings_path(artifact.manifest.targets[target].library)
        if not artifact.has(path):
            raise ArtifactError(
                f"the artifact has no kernels that measure the ceilings of {target}",
                where=str(artifact.directory),
                expected=path,
                fix="compile again with this version",
            )
        ceilings = replace(artifact, libraries={target: artifact.file(path)})
        self._device = CpuDevice(ceilings, target, threads)
        self._device.open()
        self.kinds = tuple(
            kind for kind in ARITHMETIC[artifact.manifest.dtype] if self._device.has(kind)
        )
        size = max(READ_BYTES, 4 * largest_cache())
        self._memory = _aligned(-(-size // 4 // READ_MULTIPLE) * READ_MULTIPLE)
        self._memory += np.float32(0.5)  # pages of their own, not one page of zeros
        self._control = _aligned(16).view(np.int32)
        self._control[:4] = 1, 1, 0, threads
        result = _aligned(threads * RESULT_FLOATS)
        buffers = (self._control, self._memory, result)
        self._arguments = [tvm_ffi.from_dlpack(each) for each in buffers]
        floats = max(LEAST_SWEEP, 2 * largest_cache()) // 4
        part = tvm_ffi.from_dlpack(self._memory[: -(-floats // READ_MULTIPLE) * READ_MULTIPLE])
        self._sweeping = [self._arguments[0], part, self._arguments[2]]
        near = tvm_ffi.from_dlpack(self._memory[: threads * READ_MULTIPLE])
        self._near = [self._arguments[0], near, self._arguments[2]]
        self._fastest_near = float("inf")
        self._samples: dict[Ceiling, list[Sample]] = {}
        self._threads = threads
        self._rounds = {kind: self._calibrated(kind) for kind in self.kinds}
        self._call(Ceiling.READ)

    def measure(self, rounds: int = 3) -> None:
        """Take some samples of everything."""
        for _ in range(rounds):
            for kind in (Ceiling.READ, *self.kinds):
                self.rate(kind)

    def rate(self, kind: Ceiling) -> float:
        """Take one sample, READ or one of `kinds`: bytes or operations per second just now."""
        taken = sample(lambda: self._call(kind))
        self._samples.setdefault(kind, []).append(taken)
        return self._work(kind) / taken.seconds

    def sweep(self) -> None:
        """Read twice what the largest cache holds, so that no cache holds anything else."""
        self._control[0] = 1
        self._device.use_threads()
        self._device.kernel(Ceiling.READ)(*self._sweeping)

    def freedom(self) -> float:
        """How fast the first-level caches are read just now, compared with the fastest so far.

        Less than 1 if another machine's thread shares a core with one of ours: that slows all
        that reads caches, and no counter of this machine shows it.
        """
        self._control[0] = NEAR_READS
        self._device.use_threads()
        kernel = self._device.kernel(Ceiling.READ)
        seconds = min(sample(lambda: kernel(*self._near)).seconds for _ in range(2))
        self._fastest_near = min(self._fastest_near, seconds)
        return self._fastest_near / seconds

    def result(self) -> Ceilings:
        """The medians of all samples so far."""
        found = {kind: summarise(samples) for kind, samples in self._samples.items()}
        rates = {kind: self._work(kind) / each.median for kind, each in found.items()}
        require_plausible(rates, self._threads)
        arithmetic = {kind.name.lower(): rates[kind] for kind in self.kinds}
        peak = max(arithmetic.values())
        return Ceilings(rates[Ceiling.READ], arithmetic, peak, found[Ceiling.READ])

    def _work(self, kind: Ceiling) -> int:
        """Bytes or operations of a sample."""
        if kind is Ceiling.READ:
            return self._memory.nbytes
        return OPERATIONS * self._threads * self._rounds[kind]

    def _call(self, kind: Ceiling) -> None:
        self._control[0] = 1 if kind is Ceiling.READ else self._rounds[kind]
        self._device.use_threads()
        self._device.kernel(kind)(*self._arguments)

    def _calibrated(self, kind: Ceiling) -> int:
        """Repetitions that last about `SAMPLE_SECONDS`; the first call raises the clock."""
        self._rounds = {kind: 1}
        seconds = min(sample(lambda: self._call(kind)).seconds for _ in range(3))
        return max(1, ceil(SAMPLE_SECONDS / seconds))


def require_plausible(rates: dict[Ceiling, float], threads: int) -> None:
    """ArtifactError for operations per second that `threads` cores cannot compute.

    Then the compiler has left products out of a kernel that counts them.
    """
    for kind, rate in rates.items():
        if kind in MOST_PER_CYCLE and rate > (
            most := MOST_PER_CYCLE[kind] * FASTEST_CLOCK * threads
        ):
            raise ArtifactError(
                f"the kernel of the {kind.name.lower()} ceiling seems to compute {rate / 1e9:.0f} "
                "G operations/s",
                where=kind.value,
                expected=f"at most {most / 1e9:.0f} G operations/s of {threads} threads",
                fix="report this with the processor's name; compile again with another version",
            )


def largest_cache() -> int:
    """Bytes of the largest cache of the first CPU; 0 if Linux does not report it."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text.endswith("K") and text[:-1].isdigit():
            sizes.append(int(text[:-1]) << 10)
    return max(sizes)


def _aligned(floats: int) -> np.ndarray:
    """Zeros at an address that kernels accept."""
    memory = np.zeros(floats * 4 + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + floats * 4].view(np.float32)
