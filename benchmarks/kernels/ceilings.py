"""What this machine can do at most, for benchmarks that call kernels without the runtime.

The kernels are those that artifacts bring (`codegen.ceilings`), and those for products of integers
of 16 and 8 bits, which the kernels for integer weights use.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.bandwidth import READ_BYTES
from benchmarks.kernels.linear_cases import BYTES, PAIRS, Work, aligned
from codegen.ceilings import ceiling_kernels, keep, parameters
from codegen.kernels.linear.amx import INSTRUCTIONS as TILES
from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import LANES, Expr, kernel, let, loop, registers, workers
from codegen.kernels.tir.ir import T
from codegen.targets.cpu import CpuTarget, compile_functions
from runtime.artifact.ceilings import OPERATIONS, RESULT_FLOATS, Ceiling
from runtime.artifact.processor import permit_tiles

REPEATS = 128
"""So many that waking the threads and raising the clock take no visible part."""


class CeilingWorks:
    """Calls that reach a ceiling: `works` by name, and the bytes or operations of each."""

    def __init__(self, target: CpuTarget, threads: int, *, arithmetic: bool = True) -> None:
        """Compile the kernels for this machine and touch the memory that is read."""
        if target.has_amx_bf16:
            permit_tiles()
        functions = ceiling_kernels(target, TILES if target.has_amx_bf16 else ())
        functions |= {PAIRS: pair_kernel(target), BYTES: byte_kernel(target)}
        if not arithmetic:
            functions = {Ceiling.READ.value: functions[Ceiling.READ]}
        module = compile_functions(functions, target)
        memory = aligned((READ_BYTES // 4,), "float32")
        result = aligned((threads * RESULT_FLOATS,), "float32")
        result[:] = 0.0
        self.works: dict[str, Work] = {}
        self.scales: dict[str, int] = {}
        for name in functions:
            times = 1 if name == Ceiling.READ else REPEATS
            control = aligned((16,), "int32")
            control[:4] = times, 1, 0, threads
            self.works[name] = _call(module[name], control, memory, result)
            reading = name == Ceiling.READ
            self.scales[name] = READ_BYTES if reading else OPERATIONS * times * threads


def pair_kernel(target: CpuTarget) -> Any:
    """Build (control, memory, result): products of pairs of 16-bit integers in registers."""

    def dot(total: Expr, bits: Expr) -> Expr:
        pairs = T.reinterpret(bits, dtype=f"uint16x{2 * LANES}")
        return vector.dot_i16(total, pairs, pairs)

    return _integer_kernel(target, PAIRS, dot, 2)


def byte_kernel(target: CpuTarget) -> Any:
    """Build (control, memory, result): products of four bytes at a time in registers."""

    def dot(total: Expr, bits: Expr) -> Expr:
        weights = T.reinterpret(bits, dtype=f"uint8x{4 * LANES}")
        return vector.dot_bytes(total, weights, T.reinterpret(bits, dtype=f"int8x{4 * LANES}"))

    return _integer_kernel(target, BYTES, dot, 4)


def _integer_kernel(
    target: CpuTarget, name: str, dot: Callable[[Expr, Expr], Expr], values: int
) -> Any:
    """Sums of products of `values` integers that share 32 bits."""
    count = 24 if target.has_avx512 else 6
    with kernel(name, target) as builder:
        control, _, result = parameters(builder)

        def work(worker: Expr, _: Expr) -> None:
            sums = registers(count, "int32")
            for cell in range(count):
                sums[cell] = T.broadcast(T.int32(0), LANES)
            bits = T.reinterpret(result[worker * RESULT_FLOATS], dtype="uint32")
            factor = let(T.broadcast(bits, LANES))
            with loop(control.tokens), loop(OPERATIONS // (2 * values * LANES * count)):
                for cell in range(count):
                    sums[cell] = dot(sums[cell], factor)
            floats = registers(count)
            for cell in range(count):
                floats[cell] = T.Cast(vector.FLOATS, sums[cell])
            keep(result, worker, floats, count)

        workers(builder, control, work)
    return builder.function


def _call(function: Any, *arrays: np.ndarray) -> Work:
    tensors = [from_dlpack(array) for array in arrays]
    return lambda: function(*tensors)
