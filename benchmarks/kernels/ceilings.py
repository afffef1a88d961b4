"""What this machine can do at most, for benchmarks that call kernels without the runtime.

The kernels are those that artifacts bring (`codegen.write.ceiling_kernels`).
"""

from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.kernels.linear_cases import Work, aligned
from benchmarks.machine import READ_BYTES
from sala_compile.codegen.kernels.tir.tiles import INSTRUCTIONS as TILES
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.ceiling_kernels import BY_BITS, ceiling_kernels
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.runtime.artifact.ceilings import (
    OPERATIONS,
    READ_MULTIPLE,
    RESULT_FLOATS,
    Ceiling,
)
from sala_compile.runtime.artifact.processor import permit_tiles

REPEATS = 128
"""So many that waking the threads and raising the clock take no visible part."""


class CeilingWorks:
    """Calls that reach a ceiling: `works` by name, and the bytes or operations of each."""

    def __init__(self, target: CpuTarget, threads: int, *, arithmetic: bool = True) -> None:
        """Compile the kernels for this machine and touch the memory that is read."""
        if target.has_amx_bf16:
            permit_tiles()
        functions = ceiling_kernels(target, TILES if target.has_amx_bf16 else (), BY_BITS)
        if not arithmetic:
            functions = {Ceiling.READ.value: functions[Ceiling.READ]}
        module = compile_functions(functions, target)
        memory = aligned((READ_BYTES // 4,), "float32")
        result = aligned((threads * RESULT_FLOATS,), "float32")
        result[:] = 0.0
        self._read, self._threads = module[Ceiling.READ.value], threads
        self._memory, self._result = memory, result
        self.works: dict[str, Work] = {}
        self.scales: dict[str, int] = {}
        for name in functions:
            times = 1 if name == Ceiling.READ else REPEATS
            control = aligned((16,), "int32")
            control[:4] = times, 1, 0, threads
            self.works[name] = _call(module[name], control, memory, result)
            reading = name == Ceiling.READ
            self.scales[name] = READ_BYTES if reading else OPERATIONS * times * threads

    def reading(self, nbytes: int) -> Work:
        """Read so many bytes in their order, rounded up to what the kernel reads at a time."""
        control = aligned((16,), "int32")
        control[:4] = 1, 1, 0, self._threads
        floats = -(-nbytes // 4 // READ_MULTIPLE) * READ_MULTIPLE
        return _call(self._read, control, self._memory[:floats], self._result)


def _call(function: Any, *arrays: np.ndarray) -> Work:
    tensors = [from_dlpack(array) for array in arrays]
    return lambda: function(*tensors)
