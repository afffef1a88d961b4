"""Rotation of dimension i of every head with dimension i + R/2, on the CPU."""

from sala_compile.codegen.kernels.rope.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, let, loop
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows
from sala_compile.codegen.kernels.tir.tile import live_lanes


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the rotation of every live row, head by head."""
    half, tensors = spec.rotated // 2, builder.tensors
    x, table, y = tensors.x, tensors.table, tensors.y

    def rotate(row: Expr) -> None:
        with loop(spec.columns // spec.head_dim) as head:
            base = let(head * spec.head_dim)
            for first, live in live_lanes(half):
                columns = (base + first, base + (first + half))
                low, high = (
                    let(spec.x.load(x, row, column + spec.x_start, count=live))
                    for column in columns
                )
                cos = let(Element.F32.load(table, row, first, count=live))
                sin = let(Element.F32.load(table, row, half + first, count=live))
                values = (
                    vector.fma(low, cos, -(high * sin)),
                    vector.fma(high, cos, low * sin),
                )
                for column, value in zip(columns, values, strict=True):
                    spec.output.store(y, row, column, value=value, count=live)
            for first, live in live_lanes(spec.head_dim - spec.rotated):
                column = base + (first + spec.rotated)
                value = let(spec.x.load(x, row, column + spec.x_start, count=live))
                spec.output.store(y, row, column, value=value, count=live)
        clear_padding(spec.output, y, row, spec.columns)

    for_rows(builder, tensors.control, tensors.control.tokens, spec.columns, rotate)


FAMILY = CpuFamily(name="rope", spec=Spec, describe=describe, arguments=arguments, emit=emit)
