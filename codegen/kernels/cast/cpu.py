"""Rounding of activations on the CPU."""

from sala_compile.codegen.kernels.cast.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors, live_rows


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit y = x for every live row."""
    tensors = builder.tensors

    def body(row: Expr) -> None:
        def write(column: Expr, count: int) -> None:
            value = spec.x.load(tensors.x, row, column + spec.x_start, count=count)
            spec.output.store(tensors.y, row, column, value=value, count=count)

        for_vectors(spec.columns, write)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    live = live_rows(tensors.control, spec.extent)
    for_rows(builder, tensors.control, live, spec.columns, body)


FAMILY = CpuFamily(name="cast", spec=Spec, describe=describe, arguments=arguments, emit=emit)
