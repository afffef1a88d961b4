"""The bandwidth of memory: all threads read a buffer that no cache holds, beside what is measured.

The reader runs in a process of its own (`engines.Worker`), idle until it is asked.
"""

from functools import partial
from typing import Any

from benchmarks.engines import Worker
from runtime.timing import summarise

READ_BYTES = 512 << 20
ROUNDS = 8


class ReadEngine:
    """An engine whose `append` reads the buffer once."""

    def __init__(self, threads: int) -> None:
        """Compile the reading kernel for this machine, and touch the buffer."""
        import numpy as np
        from tvm_ffi import from_dlpack

        from benchmarks.kernels.ceilings import FLOATS_PER_WORKER, read_kernel
        from benchmarks.threads import use_threads
        from codegen.targets.cpu import CpuTarget, compile_functions

        use_threads(threads)
        target = CpuTarget.host()
        self._read = compile_functions({"read": read_kernel(target, READ_BYTES // 64)}, target)[
            "read"
        ]
        control = np.zeros(16 + 16, np.int32)
        start = -control.ctypes.data % 64 // 4
        control = control[start : start + 16]
        control[:4] = 1, 1, 0, threads
        memory = np.zeros(READ_BYTES // 4 + 16, np.float32)
        memory += 0.5
        start = -memory.ctypes.data % 64 // 4
        result = np.zeros(threads * FLOATS_PER_WORKER + 16, np.float32)
        first = -result.ctypes.data % 64 // 4
        arrays = (
            control,
            memory[start : start + READ_BYTES // 4],
            result[first : first + threads * FLOATS_PER_WORKER],
        )
        self._arguments = [from_dlpack(array) for array in arrays]

    def reset(self) -> None:
        """Nothing is kept from one reading to the next."""

    def append(self, token_ids: list[int]) -> Any:
        """Read the buffer once; there are no logits."""
        self._read(*self._arguments)


class BandwidthProbe:
    """Measures the bandwidth of reading whenever it is asked."""

    def __init__(self, threads: int) -> None:
        """Start the reading process."""
        self._worker = Worker(partial(ReadEngine, threads))

    def measure(self) -> float:
        """Bytes per second, the median of clean readings (of all where none was clean)."""
        samples = [self._worker.timed([]) for _ in range(ROUNDS)]
        return READ_BYTES / summarise(samples).median

    def close(self) -> None:
        """End the process."""
        self._worker.close()
