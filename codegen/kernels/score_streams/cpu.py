"""Signed roots of the products of streams on the CPU, row by row."""

from sala_compile.codegen.kernels.score_streams.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, held, let, loop, registers
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors

F32, TOGETHER = Element.F32, 4


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the numbers of every live row."""
    tensors = builder.tensors

    def body(row: Expr) -> None:
        with loop(spec.streams) as stream:
            first = held(stream * spec.columns)
            sums = registers(TOGETHER).fill(TOGETHER)
            place = iter(range(spec.columns))

            def add(column: Expr, count: int) -> None:
                key, query = (
                    let(F32.load(tensor, row, first + column + start, count=count))
                    for tensor, start in (
                        (tensors.key, spec.key_start),
                        (tensors.query, spec.query_start),
                    )
                )
                index = next(place) % TOGETHER
                sums[index] = vector.fma(key, query, sums[index])

            for_vectors(spec.columns, add, together=TOGETHER)
            total = vector.total((sums[0] + sums[1]) + (sums[2] + sums[3]))
            product = held(total * T.float32(spec.scale), "float32")
            root = held(T.sqrt(T.max(T.abs(product), T.float32(spec.least))), "float32")
            signed = T.if_then_else(product < T.float32(0), T.float32(0) - root, root)
            tensors.y[row, stream] = T.if_then_else(product == T.float32(0), T.float32(0), signed)
        clear_padding(F32, tensors.y, row, spec.streams)

    columns = spec.streams * spec.columns
    for_rows(builder, tensors.control, tensors.control.tokens, columns, body)


FAMILY = CpuFamily(
    name="score_streams", spec=Spec, describe=describe, arguments=arguments, emit=emit
)
