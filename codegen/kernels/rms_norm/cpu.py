"""y = x / sqrt(mean(x^2) + eps) * weight over groups, then * sigmoid(gate), on the CPU."""

from sala_compile.codegen.kernels.rms_norm.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, lanes, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import (
    clear_padding,
    for_rows,
    for_vectors,
    sum_of_squares,
)


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the norm of every live row, group by group."""
    tensors = builder.tensors
    rows = tensors.find("rows")

    def norm(row: Expr) -> None:
        source = row if rows is None else let(rows[row])
        with loop(spec.columns // spec.group) as group:
            weights = let(group % spec.weights * spec.group) if spec.weights > 1 else 0
            _group(builder, spec, source, row, let(group * spec.group), weights)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    live = tensors.control.tokens if rows is None else tensors.control.logit_rows
    for_rows(builder, tensors.control, live, spec.columns, norm)


def _group(
    builder: KernelBuilder, spec: Spec, source: Expr, row: Expr, first: Expr, weights: Expr
) -> None:
    """Emit the norm of one group of columns of a row, with the weights from `weights` on."""
    tensors = builder.tensors
    gate = tensors.find("gate")

    def load(column: Expr, count: int) -> Expr:
        return spec.x.load(tensors.x, source, first + column + spec.x_start, count=count)

    factor = let(inverse_root(sum_of_squares(spec.group, load), spec.group, spec.eps))

    def weight(column: Expr, count: int) -> Expr:
        if spec.weights == 1:  # padded, so that a whole vector can be read
            return tensors.weight[lanes(column)]
        return Element.F32.load(tensors.weight, weights + column, count=count)

    def write(column: Expr, count: int) -> None:
        value = load(column, count) * splat(factor) * weight(column, count)
        if gate is not None:
            logit = spec.gate.load(gate, row, first + column + spec.gate_start, count=count)
            value = value * vector.sigmoid(logit)
        spec.output.store(tensors.y, row, first + column, value=value, count=count)

    for_vectors(spec.group, write)


def inverse_root(squares: Expr, columns: int, eps: float) -> Expr:
    """Return 1 / sqrt(squares / columns + eps)."""
    mean = squares / T.float32(columns)
    return T.float32(1.0) / T.sqrt(mean + T.float32(eps))


FAMILY = CpuFamily(name="rms_norm", spec=Spec, describe=describe, arguments=arguments, emit=emit)
