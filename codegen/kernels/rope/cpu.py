"""Rotation of dimension i of every head with dimension i + R/2, on the CPU."""

from collections.abc import Callable

from sala_compile.codegen.kernels.rms_norm.cpu import inverse_root
from sala_compile.codegen.kernels.rope.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, sum_of_squares
from sala_compile.codegen.kernels.tir.tile import live_lanes


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the rotation of every live row, head by head."""
    half, tensors = spec.rotated // 2, builder.tensors
    table, y = tensors.table, tensors.y

    def rotate(row: Expr) -> None:
        with loop(spec.columns // spec.head_dim) as head:
            base = let(head * spec.head_dim)
            load = _values(builder, spec, row, base)
            for first, live in live_lanes(half):
                columns = (base + first, base + (first + half))
                low, high = (let(load(place, live)) for place in (first, first + half))
                cos = let(Element.F32.load(table, row, first, count=live))
                sin = let(Element.F32.load(table, row, half + first, count=live))
                values = (
                    vector.fma(low, cos, -(high * sin)),
                    vector.fma(high, cos, low * sin),
                )
                for column, value in zip(columns, values, strict=True):
                    spec.output.store(y, row, column, value=value, count=live)
            for first, live in live_lanes(spec.head_dim - spec.rotated):
                value = let(load(first + spec.rotated, live))
                spec.output.store(y, row, base + (first + spec.rotated), value=value, count=live)
        clear_padding(spec.output, y, row, spec.columns)

    for_rows(builder, tensors.control, tensors.control.tokens, spec.columns, rotate)


def _values(
    builder: KernelBuilder, spec: Spec, row: Expr, base: Expr
) -> Callable[[int, int], Expr]:
    """The reader of `count` values of a head from a dimension on, normalised if there is a norm."""
    tensors = builder.tensors
    norm = tensors.find("norm")

    def load(place: Expr, count: int) -> Expr:
        return spec.x.load(tensors.x, row, base + place + spec.x_start, count=count)

    if norm is None:
        return load
    squares = sum_of_squares(spec.head_dim, load)
    factor = let(splat(inverse_root(squares, spec.head_dim, spec.eps)))

    def normal(place: int, count: int) -> Expr:
        weight = Element.F32.load(norm, T.int32(place), count=count)
        return load(place, count) * factor * weight

    return normal


FAMILY = CpuFamily(name="rope", spec=Spec, describe=describe, arguments=arguments, emit=emit)
