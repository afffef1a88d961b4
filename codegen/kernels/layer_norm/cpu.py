"""y = (x - mean) / sqrt(variance + eps) * weight + bias over rows, on the CPU."""

from sala_compile.codegen.kernels.layer_norm.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.rms_norm.cpu import inverse_root
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, lanes, let, splat
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import (
    clear_padding,
    for_rows,
    for_vectors,
    sum_of_squares,
    sum_of_values,
)


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the norm of every live row."""
    tensors = builder.tensors

    def norm(row: Expr) -> None:
        def load(column: Expr, count: int) -> Expr:
            return spec.x.load(tensors.x, row, column + spec.x_start, count=count)

        mean = let(sum_of_values(spec.columns, load) / T.float32(spec.columns))

        def centred(column: Expr, count: int) -> Expr:
            value = load(column, count) - splat(mean)
            return vector.first_lanes(value, count, splat(0.0))

        factor = let(inverse_root(sum_of_squares(spec.columns, centred), spec.columns, spec.eps))

        def write(column: Expr, count: int) -> None:
            scaled = centred(column, count) * splat(factor)
            value = vector.fma(scaled, tensors.weight[lanes(column)], tensors.bias[lanes(column)])
            spec.output.store(tensors.y, row, column, value=value, count=count)

        for_vectors(spec.columns, write)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    for_rows(builder, tensors.control, tensors.control.tokens, spec.columns, norm)


FAMILY = CpuFamily(name="layer_norm", spec=Spec, describe=describe, arguments=arguments, emit=emit)
