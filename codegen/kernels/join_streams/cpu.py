"""Streams as one on the CPU, row by row."""

from sala_compile.codegen.kernels.join_streams.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, held, let, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors, live_rows

F32 = Element.F32


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the sum of the streams of every live token, times their shares."""
    tensors = builder.tensors

    def body(row: Expr) -> None:
        shares = [splat(1.0 / spec.streams)] * spec.streams
        if spec.shared:
            places = (spec.shares_start + stream for stream in range(spec.streams))
            shares = [let(splat(held(tensors.shares[row, p], "float32"))) for p in places]

        def write(column: Expr, count: int) -> None:
            value = splat(0.0)
            for stream, share in enumerate(shares):
                place = column + spec.x_start + stream * spec.columns
                value = vector.fma(share, F32.load(tensors.x, row, place, count=count), value)
            spec.out_element.store(tensors.result, row, column, value=value, count=count)

        for_vectors(spec.columns, write)
        clear_padding(spec.out_element, tensors.result, row, spec.columns)

    columns = spec.streams * spec.columns
    for_rows(builder, tensors.control, live_rows(tensors.control, spec.extent), columns, body)


FAMILY = CpuFamily(
    name="join_streams", spec=Spec, describe=describe, arguments=arguments, emit=emit
)
