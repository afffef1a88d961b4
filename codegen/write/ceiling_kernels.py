"""Kernels that show what a machine can do at most (`runtime.artifact.ceilings` says how)."""

from collections.abc import Iterable
from typing import Any

from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Control,
    Expr,
    KernelBuilder,
    Registers,
    Tensor,
    kernel,
    lanes,
    let,
    long,
    loop,
    prefetch,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.shims import tile_shims
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tiles import INSTRUCTIONS as TILES
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.runtime.artifact.ceilings import (
    INTEGERS,
    OPERATIONS,
    READ_MULTIPLE,
    RESULT_FLOATS,
    Ceiling,
)

STREAMS = 4
"""Places at which each thread reads at once."""
CHUNK = READ_MULTIPLE // STREAMS // LANES
"""Vectors that a thread reads at each place before it moves on."""
AHEAD = 32
"""Vectors between what is read and what is prefetched."""
PACKS = {Ceiling.FLOAT32: 1, Ceiling.BFLOAT16: 2, Ceiling.INT16: 2, Ceiling.INT8: 4}
"""Values that share 32 bits."""
BY_BITS = {16: Ceiling.INT16, 8: Ceiling.INT8}
TILE_STEP = 4 * 2 * 16 * 16 * 32
"""Operations of four products of tiles."""


def ceiling_kernels(
    target: CpuTarget, instructions: Iterable[str], integers: Iterable[int] = ()
) -> dict[str, Any]:
    """The kernels for a target by symbol.

    `instructions` are those that the target's own kernels need, `integers` the bits of the
    integers that they multiply.
    """
    built = {Ceiling.READ: read_kernel(target), Ceiling.FLOAT32: arithmetic_kernel(target)}
    if set(TILES) <= set(instructions):
        built[Ceiling.BFLOAT16] = tile_kernel(target)
    elif target.has_fast_bf16_dot:
        built[Ceiling.BFLOAT16] = arithmetic_kernel(target, Ceiling.BFLOAT16)
    for kind in (BY_BITS[bits] for bits in integers):
        built[kind] = arithmetic_kernel(target, kind)
    return {ceiling.value: function for ceiling, function in built.items()}


def read_kernel(target: CpuTarget) -> Any:
    """Build (control, memory, result): read all of the memory, as often as there are tokens."""
    with kernel(Ceiling.READ, target) as builder:
        control, memory, result = _parameters(builder)
        part = let(builder.capacity("floats") // (STREAMS * LANES))

        def work(team: Team) -> None:
            sums = registers(2 * STREAMS).fill(2 * STREAMS)

            def chunk(index: Expr) -> None:
                with loop(CHUNK // 2) as step:
                    for cell in range(2 * STREAMS):
                        stream, half = divmod(cell, 2)
                        place = long(index) * CHUNK + step * 2 + half + part * stream
                        prefetch(memory, (place + AHEAD) * LANES)
                        sums[cell] = sums[cell] + memory[lanes(place * LANES)]

            with loop(control.tokens):
                team.static(T.Cast("int32", part // CHUNK), chunk)
            _keep(result, team.worker, sums, 2 * STREAMS)

        workers(builder, control, work)
    return builder.function


def arithmetic_kernel(target: CpuTarget, kind: Ceiling = Ceiling.FLOAT32) -> Any:
    """Build (control, memory, result): dot products of registers, as many as hide their latency."""
    count = 24 if target.has_avx512 else 6
    with kernel(kind, target) as builder:
        control, _, result = _parameters(builder)

        def work(team: Team) -> None:
            is_integer = kind in INTEGERS
            sums = registers(count, "int32" if is_integer else "float32")
            for cell in range(count):
                first = T.int32(is_integer)
                sums[cell] = T.broadcast(first, LANES) if is_integer else splat(0.0)
            factor = let(splat(result[team.worker * RESULT_FLOATS]))
            with loop(control.tokens), loop(OPERATIONS // (2 * LANES * PACKS[kind] * count)):
                for cell in range(count):
                    sums[cell] = _dot(kind, sums[cell], factor)
            floats = registers(count)
            for cell in range(count):
                floats[cell] = T.Cast(vector.FLOATS, sums[cell]) if is_integer else sums[cell]
            _keep(result, team.worker, floats, count)

        workers(builder, control, work)
    return builder.function


def _dot(kind: Ceiling, total: Expr, factor: Expr) -> Expr:
    """The sum and the products of a vector, its bits taken as the kind says.

    Products of integers are those of the sum itself: where they are instructions of their own, LLVM
    computes those of two constants once, and only adds.
    """
    if kind is Ceiling.FLOAT32:
        return Element.F32.dot(total, factor, factor)
    if kind is Ceiling.INT8:
        unsigned = T.reinterpret(total, dtype=f"uint8x{4 * LANES}")
        signed = T.reinterpret(factor, dtype=f"int8x{4 * LANES}")
        return vector.dot_bytes(total, unsigned, signed)
    pairs = T.reinterpret(factor, dtype=f"uint16x{2 * LANES}")
    if kind is Ceiling.INT16:
        return vector.dot_i16(total, T.reinterpret(total, dtype=f"uint16x{2 * LANES}"), pairs)
    return Element.BF16.dot(total, pairs, pairs)


def tile_kernel(target: CpuTarget) -> Any:
    """Build (control, memory, result): products of tiles that the first cache holds."""
    with kernel(Ceiling.BFLOAT16, target) as builder:
        builder.require(*TILES)
        control, _, result = _parameters(builder)

        def work(team: Team) -> None:
            def call(name: str, *arguments: Expr) -> None:
                T.evaluate(T.call_extern("void", f"sala_tiles_{name}", *arguments))

            upper, lower, right = (
                result.address(team.worker * RESULT_FLOATS + start) for start in (0, 256, 512)
            )
            with T.attr(0, "pragma_import_llvm", tile_shims()):
                call("configure", T.int32(16), T.int32(16))
                call("zero")
                with loop(control.tokens), loop(OPERATIONS // TILE_STEP):
                    call("step", upper, lower, long(64), right, long(128))
                call("release")

        workers(builder, control, work)
    return builder.function


def _parameters(builder: KernelBuilder) -> tuple[Control, Tensor, Tensor]:
    control = builder.control()
    memory = builder.tensor("memory", ("floats",), "float32")
    return control, memory, builder.tensor("result", ("results",), "float32")


def _keep(result: Tensor, worker: Expr, sums: Registers, count: int) -> None:
    """Emit a use of the sums, so that nothing is left out."""
    whole = sums[0]
    for cell in range(1, count):
        whole = whole + sums[cell]
    result[worker * RESULT_FLOATS] = vector.total(whole)
