"""Rotation of dimension i of every head with dimension i + R/2, on the CPU."""

from collections.abc import Callable

from sala_compile.codegen.kernels.rms_norm.cpu import inverse_root
from sala_compile.codegen.kernels.rope.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, KernelBuilder, let, loop, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T, tirx
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, sum_of_squares
from sala_compile.codegen.kernels.tir.tile import live_lanes


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit the rotation of every live row, head by head."""
    half, tensors = spec.rotated // 2, builder.tensors
    table, y = tensors.table, tensors.y

    def load_pairs(load: Callable[[int, int], Expr], first: int, live: int) -> tuple[Expr, Expr]:
        """The first and the second members of `live` pairs."""
        if not spec.interleaved:
            places = (spec.first + first, spec.first + first + half)
            return let(load(places[0], live)), let(load(places[1], live))
        halves = [
            let(load(spec.first + 2 * first + at, min(2 * live - at, LANES)))
            if at < 2 * live
            else splat(0.0)
            for at in (0, LANES)
        ]
        lower, upper = (
            tirx.Shuffle(halves, [tirx.const(2 * i + side, "int32") for i in range(LANES)])
            for side in (0, 1)
        )
        return let(lower), let(upper)

    def rotate(row: Expr) -> None:
        with loop(spec.columns // spec.head_dim) as head:
            base = let(head * spec.head_dim)
            load = _values(builder, spec, row, base)
            for first, live in live_lanes(half):
                columns = (base + (spec.first + first), base + (spec.first + first + half))
                low, high = load_pairs(load, first, live)
                cos = let(Element.F32.load(table, row, first, count=live))
                sin = let(Element.F32.load(table, row, half + first, count=live))
                values = (
                    vector.fma(low, cos, -(high * sin)),
                    vector.fma(high, cos, low * sin),
                )
                for column, value in zip(columns, values, strict=True):
                    spec.output.store(y, row, column, value=value, count=live)
            copied = ((0, spec.first), (spec.first + spec.rotated, spec.head_dim))
            for begin, end in copied:
                for first, live in live_lanes(end - begin):
                    value = let(load(begin + first, live))
                    spec.output.store(y, row, base + (begin + first), value=value, count=live)
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
