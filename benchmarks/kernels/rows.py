"""Row kernels beside a plain copy of the same rows, on one thread.

    python -m benchmarks.kernels.rows --rows 512 --columns 4096 --seconds 20

Bytes are those that the kernel must move: every operand once.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.kernels.linear_cases import aligned
from sala_compile.codegen.kernels.elementwise import cpu as elementwise
from sala_compile.codegen.kernels.embedding import cpu as embedding
from sala_compile.codegen.kernels.rms_norm import cpu as rms_norm
from sala_compile.codegen.kernels.rope import cpu as rope
from sala_compile.codegen.kernels.rope_table import cpu as rope_table
from sala_compile.codegen.kernels.tir.builder import Expr, kernel, lanes
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.rows import for_rows, for_vectors
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies

BF16, F32 = Element.BF16, Element.F32
HEAD = 128
VOCABULARY = 8192


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel with its operands (after control), and the bytes that it must move."""

    name: str
    function: Any
    arrays: tuple[np.ndarray, ...]
    bytes: int


def copy_kernel(target: CpuTarget, columns: int) -> Any:
    """Build (control, x, y): y = x."""
    with kernel("copy", target) as builder:
        control = builder.control()
        x = builder.tensor("x", ("x_rows", columns), "float32")
        y = builder.tensor("y", ("y_rows", columns), "float32")

        def row_copy(row: Expr) -> None:
            def write(column: Expr, count: int) -> None:
                y[row, lanes(column)] = x[row, lanes(column)]

            for_vectors(columns, write)

        for_rows(builder, control, control.tokens, columns, row_copy)
    return builder.function


def cases(target: CpuTarget, rows: int, columns: int) -> list[Case]:
    """A copy, then every row kernel at the size of the released model's layers."""
    floats = rows * columns

    def buffer(width: int = columns, kind: Element = F32) -> np.ndarray:
        return aligned((rows, width), kind.dtype)

    weight = aligned((columns,), "float32")
    ids = aligned((rows,), "int32")
    ids[:] = np.random.default_rng(0).integers(0, VOCABULARY, rows)
    norm = rms_norm.Spec(columns, columns, 1e-6, False, 0, columns, F32, BF16)
    gated = rms_norm.Spec(columns, columns, 1e-6, False, 0, columns, F32, BF16, F32, 0, columns)
    turn = rope.Spec(columns, HEAD, HEAD, 0, columns, F32, F32)
    pair = elementwise.Spec(
        elementwise.Function.SWIGLU, columns, 1.0, 0, columns, 0, columns, F32, F32, BF16
    )
    rows_of = embedding.Spec(VOCABULARY, columns, 12.0, False, BF16, F32)
    panel = embedding.Spec(VOCABULARY, columns, 12.0, True, BF16, F32)
    matrix = aligned((VOCABULARY, columns), "uint16")
    panels = matrix.reshape(VOCABULARY // 64, columns // 2, 64, 2)
    table = rope_table.Spec(tuple(inverse_frequencies(1e4, HEAD).tolist()))
    out = buffer(kind=BF16)
    return [
        Case("copy", copy_kernel(target, columns), (buffer(), buffer()), 8 * floats),
        Case("rms_norm", rms_norm.FAMILY.build(norm, target), (buffer(), weight, out), 6 * floats),
        Case(
            "rms_norm_gate",
            rms_norm.FAMILY.build(gated, target),
            (buffer(), weight, buffer(), out),
            10 * floats,
        ),
        Case(
            "swiglu", elementwise.FAMILY.build(pair, target), (buffer(), buffer(), out), 10 * floats
        ),
        Case(
            "rope", rope.FAMILY.build(turn, target), (buffer(), buffer(HEAD), buffer()), 8 * floats
        ),
        Case(
            "rope_table",
            rope_table.FAMILY.build(table, target),
            (ids, buffer(HEAD)),
            4 * rows * HEAD,
        ),
        Case(
            "embedding",
            embedding.FAMILY.build(rows_of, target),
            (ids, matrix, buffer()),
            6 * floats,
        ),
        Case(
            "embedding_panel",
            embedding.FAMILY.build(panel, target),
            (ids, panels, buffer()),
            6 * floats,
        ),
    ]


def prepared(function: Any, rows: int, arrays: tuple[np.ndarray, ...]) -> Callable[[], None]:
    """The call of a kernel for one worker."""
    control = aligned((16,), "int32")
    control[:4] = rows, 1, rows, 1
    tensors = [from_dlpack(array) for array in (control, *arrays)]
    return lambda: function(*tensors)


def main() -> None:
    """Print a line for each kernel."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    target = CpuTarget.host()
    chosen = cases(target, options.rows, options.columns)
    symbols = [str(case.function.attrs["global_symbol"]) for case in chosen]
    functions = dict(zip(symbols, (case.function for case in chosen), strict=True))
    module = compile_functions(functions, target)
    works = [
        prepared(module[symbol], options.rows, case.arrays)
        for symbol, case in zip(symbols, chosen, strict=True)
    ]
    times: list[list[float]] = [[] for _ in works]
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        for work, found in zip(works, times, strict=True):
            start = time.thread_time()
            work()
            found.append(time.thread_time() - start)
    rates = [case.bytes / statistics.median(t) / 1e9 for case, t in zip(chosen, times, strict=True)]
    for case, rate, found in zip(chosen, rates, times, strict=True):
        micros = statistics.median(found) * 1e6
        print(f"{case.name:16s} {micros:9.1f} us {rate:6.1f} GB/s {rate / rates[0]:5.2f} of a copy")


if __name__ == "__main__":
    main()
