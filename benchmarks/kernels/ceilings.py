"""What this machine can do at most, measured by kernels that do nothing else."""

from collections.abc import Callable
from typing import Any

from codegen.kernels.tir import vector
from codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Registers,
    Tensor,
    kernel,
    lanes,
    let,
    long,
    loop,
    prefetch,
    registers,
    shared,
    splat,
    workers,
)
from codegen.kernels.tir.ir import T
from codegen.kernels.tir.shims import tile_shims
from codegen.targets.cpu import CpuTarget

STREAMS = 4
"""Places at which each thread reads at once."""
CHUNK = 64
"""Vectors that a thread reads at each place before it moves on."""
AHEAD = 32
"""Vectors between what is read and what is prefetched."""
MULTIPLY_ADDS = 1_000_000
"""So many that waking the threads and raising the clock take no visible part."""
TILE_PRODUCTS = 20_000
"""Times that the four products of a step are done."""
TILE_OPERATIONS = 2 * 16 * 16 * 32
"""Of one product of tiles."""
PRODUCTS = """
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.tdpbf16ps(i8, i8, i8)
define void @ceiling_operands(ptr %p) {
  call void @llvm.x86.tileloadd64(i8 4, ptr %p, i64 0)
  call void @llvm.x86.tileloadd64(i8 5, ptr %p, i64 0)
  call void @llvm.x86.tileloadd64(i8 6, ptr %p, i64 0)
  call void @llvm.x86.tileloadd64(i8 7, ptr %p, i64 0)
  ret void
}
define void @ceiling_products() {
  call void @llvm.x86.tdpbf16ps(i8 0, i8 4, i8 6)
  call void @llvm.x86.tdpbf16ps(i8 1, i8 4, i8 7)
  call void @llvm.x86.tdpbf16ps(i8 2, i8 5, i8 6)
  call void @llvm.x86.tdpbf16ps(i8 3, i8 5, i8 7)
  ret void
}
"""
"""Products of tiles that stay in their registers, of operands whose rows are all the same."""
FLOATS_PER_WORKER = 16
"""One cache line for each worker's result."""


def read_kernel(target: CpuTarget, vectors: int) -> Any:
    """Build (control, x [vectors * 16], result): read all of x once."""
    with kernel("read", target) as builder:
        control = builder.control()
        x = builder.tensor("x", (vectors * LANES,), "float32")
        result = builder.tensor("result", ("results",), "float32")
        part = vectors // STREAMS

        def work(worker: Expr, count: Expr) -> None:
            sums = registers(2 * STREAMS).fill(2 * STREAMS)

            def chunk(index: Expr) -> None:
                with loop(CHUNK // 2) as step:
                    for cell in range(2 * STREAMS):
                        stream, half = divmod(cell, 2)
                        place = long(index) * CHUNK + step * 2 + half + stream * part
                        prefetch(x, (place + AHEAD) * LANES)
                        sums[cell] = sums[cell] + x[lanes(place * LANES)]

            shared(part // CHUNK, worker, count, chunk)
            _keep(result, worker, sums, 2 * STREAMS)

        workers(builder, control, work)
    return builder.function


def multiply_add_kernel(target: CpuTarget) -> tuple[Any, int]:
    """Build (control, result) and return the operations of one worker: multiply-adds of floats."""
    count = 24 if target.has_avx512 else 6
    with kernel("multiply_add", target) as builder:
        control = builder.control()
        result = builder.tensor("result", ("results",), "float32")

        def work(worker: Expr, _: Expr) -> None:
            sums = registers(count).fill(count)
            factor = splat(result[worker * FLOATS_PER_WORKER])
            with loop(MULTIPLY_ADDS):
                for cell in range(count):
                    sums[cell] = vector.fma(sums[cell], factor, factor)
            _keep(result, worker, sums, count)

        workers(builder, control, work)
    return builder.function, 2 * LANES * count * MULTIPLY_ADDS


def pair_kernel(target: CpuTarget) -> tuple[Any, int]:
    """Build (control, result) and return the operations of one worker: pairs of 16-bit integers."""
    kind = f"uint16x{2 * LANES}"

    def dot(total: Expr, bits: Expr) -> Expr:
        pairs = T.reinterpret(bits, dtype=kind)
        return vector.dot_i16(total, pairs, pairs)

    return _integer_kernel(target, "pairs", dot, 2)


def byte_kernel(target: CpuTarget) -> tuple[Any, int]:
    """Build (control, result) and return the operations of one worker: four bytes at a time."""

    def dot(total: Expr, bits: Expr) -> Expr:
        weights = T.reinterpret(bits, dtype=f"uint8x{4 * LANES}")
        return vector.dot_bytes(total, weights, T.reinterpret(bits, dtype=f"int8x{4 * LANES}"))

    return _integer_kernel(target, "bytes", dot, 4)


def _integer_kernel(
    target: CpuTarget, name: str, dot: Callable[[Expr, Expr], Expr], values: int
) -> tuple[Any, int]:
    """Sums of products of `values` integers that share 32 bits, in registers."""
    count = 24 if target.has_avx512 else 6
    with kernel(name, target) as builder:
        control = builder.control()
        result = builder.tensor("result", ("results",), "float32")

        def work(worker: Expr, _: Expr) -> None:
            sums = registers(count, "int32")
            for cell in range(count):
                sums[cell] = T.broadcast(T.int32(0), LANES)
            bits = T.reinterpret(result[worker * FLOATS_PER_WORKER], dtype="uint32")
            factor = let(T.broadcast(bits, LANES))
            with loop(MULTIPLY_ADDS):
                for cell in range(count):
                    sums[cell] = dot(sums[cell], factor)
            floats = registers(count)
            for cell in range(count):
                floats[cell] = T.Cast(vector.FLOATS, sums[cell])
            _keep(result, worker, floats, count)

        workers(builder, control, work)
    return builder.function, 2 * values * LANES * count * MULTIPLY_ADDS


def tile_kernel(target: CpuTarget) -> tuple[Any, int]:
    """Build (control, result) and return the operations of one worker: products of tiles."""
    with kernel("tiles", target) as builder:
        control = builder.control()
        result = builder.tensor("result", ("results",), "float32")

        def call(name: str, *arguments: Any) -> None:
            T.evaluate(T.call_extern("void", name, *arguments))

        def work(worker: Expr, _: Expr) -> None:
            with T.attr(0, "pragma_import_llvm", PRODUCTS + _without_declared(tile_shims())):
                call("sala_tiles_configure", T.int32(16), T.int32(16))
                call("sala_tiles_zero")
                call("ceiling_operands", result.address(worker * FLOATS_PER_WORKER))
                with loop(TILE_PRODUCTS):
                    call("ceiling_products")
                call("sala_tiles_release")

        workers(builder, control, work)
    return builder.function, 4 * TILE_OPERATIONS * TILE_PRODUCTS


def _without_declared(text: str) -> str:
    """LLVM IR text without the declarations that `PRODUCTS` has."""
    declared = {line for line in PRODUCTS.splitlines() if line.startswith("declare")}
    return "\n".join(line for line in text.splitlines() if line not in declared)


def _keep(result: Tensor, worker: Expr, sums: Registers, count: int) -> None:
    """Emit a use of the sums, so that nothing is left out."""
    whole = sums[0]
    for cell in range(1, count):
        whole = whole + sums[cell]
    result[worker * FLOATS_PER_WORKER] = vector.total(whole)
