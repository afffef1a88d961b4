"""All memory of a loaded model: one mapping, taken at load, and views of it."""

import mmap
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tvm_ffi

from sala_compile.runtime.artifact import Artifact, ValueKind
from sala_compile.runtime.artifact.stored_weights import open_tensors
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.devices.device import POISON, rows_by_symbol
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.plan import MemoryPart, MemoryPlan

POPULATE_WRITE = 23
"""Linux: take every page of a mapping now; Python has no name for it."""


class CpuMemory:
    """The buffers of a plan in one anonymous mapping, and the weights: mapped files, or seeded.

    `arrays` and `tensors` are views by value name, made once. The host's arrays are the buffers.
    """

    def __init__(self, plan: MemoryPlan, artifact: Artifact, target: str, *, poison: bool) -> None:
        """Take the memory; MemoryBudgetError if the system refuses."""
        self.plan = plan
        self.poison = poison
        self._map = _anonymous(plan.mapping_bytes)
        self._bytes = np.frombuffer(self._map, np.uint8)
        if poison:
            self._bytes[:] = POISON
        self._files = {
            name: open_tensors(artifact, name) for name in artifact.weight_files_of(target)
        }
        weights = self._weights(artifact, target)
        self.arrays: Mapping[str, np.ndarray] = {**self._views(), **weights}
        self.tensors = {name: tvm_ffi.from_dlpack(array) for name, array in self.arrays.items()}
        for name, place in plan.places.items():
            if place.value.kind is ValueKind.INPUT:
                self.arrays[name].fill(0)
        self._pools = rows_by_symbol(plan)

    @property
    def counters(self) -> dict[str, int]:
        """Bytes really held for each part."""
        unplanned = len(self._map) - max(1, self.plan.mapping_bytes)
        counted = dict(self.plan.parts)
        counted[MemoryPart.WEIGHTS] = sum(file.nbytes for file in self._files.values())
        assert unplanned == 0, "the mapping is not what the plan says"
        return counted

    @property
    def extras(self) -> dict[str, int]:
        """Empty: everything is in the plan."""
        return {}

    def host(self, name: str) -> np.ndarray:
        """The buffer itself."""
        return self.arrays[name]

    def send_inputs(self) -> None:
        """Do nothing: kernels read what the host writes."""

    def read(self, name: str, out: np.ndarray) -> None:
        """Copy the leading rows and columns of a value to `out`."""
        out[...] = self.arrays[name][tuple(slice(extent) for extent in out.shape)]

    def read_later(self, name: str, count: int) -> Callable[[], np.ndarray]:
        """A copy of the leading rows as they are now."""
        found = self.arrays[name][:count].copy()
        return lambda: found

    def read_rows(self, name: str, rows: Sequence[int]) -> np.ndarray:
        """A copy of some rows of a value."""
        return self.arrays[name][list(rows)]

    def write_rows(self, name: str, rows: Sequence[int], values: np.ndarray) -> None:
        """Overwrite whole rows of a value."""
        self.arrays[name][list(rows)] = values

    def keep_row(self, source: str, row: int, target: str, place: int) -> None:
        """Copy a row of one value to row `place` of another."""
        self.arrays[target][place] = self.arrays[source][row]

    def copy_row(self, symbol: str, source: int, target: int) -> None:
        """Copy one page or slot in every pool that `symbol` indexes."""
        for name in self._pools.get(symbol, ()):
            self.arrays[name][target] = self.arrays[name][source]

    def poison_row(self, symbol: str, row: int) -> None:
        """Make one page or slot NaN in every pool that `symbol` indexes."""
        for name in self._pools.get(symbol, ()):
            self.arrays[name][row].view(np.uint8)[...] = POISON

    def poison_arena(self) -> None:
        """Make every activation and workspace NaN, so that a stale read shows."""
        self._bytes[: self.plan.parts[MemoryPart.ARENA]] = POISON

    def close(self) -> None:
        """Release the memory now, even while somebody keeps a view (which then reads zeros)."""
        self.tensors = {}
        self.arrays = {}
        self._files = {}
        if len(self._map) > 1:
            self._map.madvise(mmap.MADV_DONTNEED)

    def _views(self) -> dict[str, np.ndarray]:
        return {
            name: self._bytes[place.offset : place.offset + place.size]
            .view(place.value.dtype.numpy)
            .reshape(place.shape)
            for name, place in self.plan.places.items()
        }

    def _weights(self, artifact: Artifact, target: str) -> dict[str, np.ndarray]:
        weights: dict[str, np.ndarray] = {}
        for name in artifact.weights_of(target):
            file, _ = artifact.weights[name]
            dtype = artifact.program.values[name].dtype.numpy
            weights[name] = self._files[file].array(name).view(dtype)
        return weights


def _anonymous(size: int) -> mmap.mmap:
    """`size` bytes of zeroed private memory, resident from now on."""
    try:
        memory = mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        _advise_huge(memory)
        _populate(memory)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryBudgetError(
            f"the system refuses {size} bytes ({format_bytes(size)}) of memory: {error}",
            fix="load with a smaller context or batch, or memory=",
        ) from error
    return memory


def _advise_huge(memory: mmap.mmap) -> None:
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, AttributeError):
        return  # a kernel without huge pages: the same memory in small ones


def _populate(memory: mmap.mmap) -> None:
    try:
        memory.madvise(POPULATE_WRITE)
    except OSError as error:
        if error.errno != 22:  # EINVAL: a kernel before 5.14, touch the pages instead
            raise
        np.frombuffer(memory, np.uint8)[:: mmap.PAGESIZE] = 0


def available_memory() -> int:
    """Bytes that this process can still take: free memory, and what a control group leaves."""
    limits = [_meminfo_available()]
    for limit, used in _CGROUP_FILES:
        maximum, current = _read_number(limit), _read_number(used)
        if maximum is not None and current is not None:
            limits.append(max(0, maximum - current))
    return min(limits)


_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def _meminfo_available() -> int:
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _read_number(path: str) -> int | None:
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
