"""Gate, SwiGLU and residual sum as kernels of their own, on the CPU."""

from sala_compile.codegen.kernels.elementwise.spec import (
    OPERANDS,
    Function,
    Spec,
    arguments,
    describe,
)
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, held, let, loop, splat
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.gated import swiglu
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows, for_vectors, live_rows


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit y = function(a, b) for every live row."""
    tensors = builder.tensors

    def runs(row: Expr) -> None:
        with loop(spec.columns // spec.run) as index:
            gate = spec.b.spread_value(tensors.b, row, held(index + spec.b_start))
            factor = let(vector.sigmoid(gate))

            def write(column: Expr, count: int) -> None:
                place = held(index * spec.run + column)
                value = spec.a.load(tensors.a, row, place + spec.a_start, count=count) * factor
                spec.output.store(tensors.y, row, place, value=value, count=count)

            for_vectors(spec.run, write)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    def body(row: Expr) -> None:
        def write(column: Expr, count: int) -> None:
            left = spec.a.load(tensors.a, row, column + spec.a_start, count=count)
            if len(OPERANDS[spec.function]) == 1:
                value = _of_one(spec, let(left))
            else:
                right = spec.b.load(tensors.b, row, column + spec.b_start, count=count)
                value = _value(spec, left, right)
            spec.output.store(tensors.y, row, column, value=value, count=count)

        for_vectors(spec.columns, write)
        clear_padding(spec.output, tensors.y, row, spec.columns)

    work = runs if spec.run > 1 else body
    live = live_rows(tensors.control, spec.extent)
    for_rows(builder, tensors.control, live, spec.columns, work)


def _value(spec: Spec, a: Expr, b: Expr) -> Expr:
    match spec.function:
        case Function.OUTPUT_GATE:
            return a * vector.sigmoid(b)
        case Function.SWIGLU:
            return swiglu(a, b, spec.limit)
        case Function.RESIDUAL_ADD:
            return vector.fma(b, splat(spec.scale), a)
        case _:
            raise AssertionError(f"{spec.function} has one operand")


def _of_one(spec: Spec, a: Expr) -> Expr:
    if spec.function is Function.SILU:
        return vector.silu(a)
    if spec.function is Function.SIGMOID:
        return vector.sigmoid(a) * splat(spec.scale)
    positive = let(T.max(a, splat(0.0)))
    return positive * positive


FAMILY = CpuFamily(name="elementwise", spec=Spec, describe=describe, arguments=arguments, emit=emit)
