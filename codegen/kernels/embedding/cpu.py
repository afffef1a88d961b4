"""y[t] = scale * weight[tokens[t]], on the CPU.

The matrix is row-major, or in the panels of the head if the two are one tensor, which is
stored once.
"""

from sala_compile.codegen.kernels.embedding.spec import Spec, arguments, describe, layouts
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, Tensors, let, splat
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors
from sala_compile.codegen.layouts.panels import PANEL_ROWS


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the copies of all rows."""
    tensors = builder.tensors
    copy = _copy_from_panel if spec.panel else _copy_row

    def body(row: Expr) -> None:
        copy(spec, tensors, let(tensors.tokens[row]), row)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    for_rows(builder, tensors.control, tensors.control.tokens, spec.columns, body)


def _copy_row(spec: Spec, tensors: Tensors, token: Expr, row: Expr) -> None:
    def write(column: Expr, count: int) -> None:
        value = spec.weight.load(tensors.weight, token, column, count=count)
        spec.output.store(tensors.y, row, column, value=value * splat(spec.scale), count=count)

    for_vectors(spec.columns, write)


def _copy_from_panel(spec: Spec, tensors: Tensors, token: Expr, row: Expr) -> None:
    """Emit a copy of one row of a panel: a pack every 256 bytes."""
    panel, place = let(token // PANEL_ROWS), let(token % PANEL_ROWS)
    pack, weight = spec.weight.pack, tensors.weight

    def write(column: Expr, count: int) -> None:
        first = let(column // pack)
        values = [weight[panel, first + lane // pack, place, lane % pack] for lane in range(count)]
        value = spec.weight.gather(values) * splat(spec.scale)
        spec.output.store(tensors.y, row, column, value=value, count=count)

    for_vectors(spec.columns, write, together=1)


FAMILY = CpuFamily(
    name="embedding",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    layouts=layouts,
    emit=emit,
)
