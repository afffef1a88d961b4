"""Memory of a loaded model between pages that nobody may touch.

Every buffer has a mapping of its own, and its end (or its begin) lies at a page without access: a
kernel that reads or writes beyond it dies by a signal. Production code knows nothing of it:
`guarded()` puts these classes in place of its own inside of the block.
"""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from unittest.mock import patch

import numpy as np

import sala_compile.runtime.devices.cpu.device
from sala_compile.runtime.artifact import ValueKind
from sala_compile.runtime.artifact.format_model import ALIGNMENT, align
from sala_compile.runtime.devices.cpu.memory import CpuMemory
from sala_compile.runtime.plan import MemoryPlan
from tests.fuzz.target import Wrong

PAGE = mmap.PAGESIZE
CANARY = 0xA5
"""Fills what lies between a buffer and the page boundary: less than an aligned line."""
_NOTHING = 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class GuardedBuffer:
    """`size` bytes; the pages before and behind them are without access."""

    def __init__(self, size: int, *, low: bool = False, fill: int = 0) -> None:
        """The end of the buffer meets a guard page, or with `low` its begin."""
        inside = -(-max(size, 1) // PAGE) * PAGE
        self._map = mmap.mmap(-1, inside + 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        whole = np.frombuffer(self._map, np.uint8)
        for offset in (0, PAGE + inside):
            if _libc.mprotect(whole.ctypes.data + offset, PAGE, _NOTHING):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._inside = whole[PAGE : PAGE + inside]
        self._inside[:] = CANARY
        self._first = 0 if low else inside - align(size)
        self.bytes = self._inside[self._first : self._first + size]
        self.bytes[:] = fill

    @property
    def is_whole(self) -> bool:
        """False where somebody wrote beside the buffer, within its pages."""
        before = self._inside[: self._first]
        behind = self._inside[self._first + len(self.bytes) :]
        return bool((before == CANARY).all() and (behind == CANARY).all())

    def array(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The leading bytes as an array."""
        return self.bytes[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


class GuardedMemory(CpuMemory):
    """The buffers of a plan, each between guard pages, weights too; the arena is not shared."""

    low = False
    poison_byte = 0xFF

    def _views(self) -> dict[str, np.ndarray]:
        fill = self.poison_byte if self.poison else 0
        places = self.plan.places.items()
        self.buffers = {
            name: GuardedBuffer(place.size, low=self.low, fill=fill) for name, place in places
        }
        return {
            name: self.buffers[name].array(place.value.dtype.numpy, place.shape)
            for name, place in places
        }

    def _weights(self, artifact, target: str) -> dict[str, np.ndarray]:  # type: ignore[override]
        self._guarded_weights = {}
        weights: dict[str, np.ndarray] = {}
        for name, array in super()._weights(artifact, target).items():
            buffer = GuardedBuffer(array.nbytes, low=self.low)
            buffer.array(array.dtype, array.shape)[...] = array
            self._guarded_weights[name] = buffer
            weights[name] = buffer.array(array.dtype, array.shape)
        return weights

    def __init__(self, plan: MemoryPlan, artifact, target: str, *, poison: bool) -> None:
        """As the memory of production, with these buffers in place of its own."""
        super().__init__(plan, artifact, target, poison=poison)
        made.append(self)

    def poison_arena(self) -> None:
        """Make every activation and workspace what `poison_byte` says."""
        for name, place in self.plan.places.items():
            if place.value.kind in (ValueKind.ACTIVATION, ValueKind.WORKSPACE):
                self.buffers[name].bytes[:] = self.poison_byte

    def check(self) -> None:
        """Wrong where anything was written beside a buffer."""
        for name, buffer in (self.buffers | self._guarded_weights).items():
            if not buffer.is_whole:
                raise Wrong(f"a kernel wrote beside {name}")


made: list[GuardedMemory] = []
"""The memories of the models that were loaded inside of the block."""


@contextmanager
def guarded(*, low: bool = False, poison_byte: int = 0xFF) -> Iterator[list[GuardedMemory]]:
    """Models that are loaded inside, those that are verified too, use guarded buffers."""
    made.clear()
    with ExitStack() as stack:
        stack.enter_context(
            patch.object(sala_compile.runtime.devices.cpu.device, "CpuMemory", GuardedMemory)
        )
        stack.enter_context(patch.object(GuardedMemory, "low", low))
        stack.enter_context(patch.object(GuardedMemory, "poison_byte", poison_byte))
        yield made
        for memory in made:
            memory.check()


assert ALIGNMENT <= PAGE
