"""What a block adds to streams, and their mix, on the CPU, row by row."""

from collections.abc import Sequence

from sala_compile.codegen.kernels.spread_streams.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    KernelBuilder,
    Tensor,
    held,
    let,
    splat,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors

F32 = Element.F32


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit all streams of every live token."""
    tensors, streams = builder.tensors, spec.streams

    def body(row: Expr) -> None:
        gains = _numbers(tensors.find("gains"), row, spec.gains_start, streams)
        mix = _numbers(tensors.find("mix"), row, spec.mix_start, streams**2)

        def write(column: Expr, count: int) -> None:
            y = let(F32.load(tensors.y, row, column + spec.y_start, count=count))
            x: list[Expr] = []
            if spec.x_pitch:
                places = [column + spec.x_start + n * spec.columns for n in range(streams)]
                x = [let(F32.load(tensors.x, row, place, count=count)) for place in places]
            for stream in range(streams):
                value = gains[stream] * y if gains else y
                if mix:
                    value = let(value)
                    for other in range(streams):
                        value = vector.fma(mix[other * streams + stream], x[other], value)
                elif x:
                    value = vector.fma(gains[stream], y, x[stream]) if gains else x[stream] + y
                place = held(column + stream * spec.columns)
                spec.out_element.store(tensors.result, row, place, value=let(value), count=count)

        for_vectors(spec.columns, write, together=2)
        clear_padding(spec.out_element, tensors.result, row, streams * spec.columns)

    columns = streams * spec.columns
    for_rows(builder, tensors.control, tensors.control.tokens, columns, body)


def _numbers(source: Tensor | None, row: Expr, start: int, count: int) -> Sequence[Expr]:
    """Numbers of a token, each in all lanes; none of an operand that is not there."""
    if source is None:
        return ()
    return [let(splat(held(source[row, start + index], "float32"))) for index in range(count)]


FAMILY = CpuFamily(
    name="spread_streams", spec=Spec, describe=describe, arguments=arguments, emit=emit
)
