"""[cos | sin] of position * frequency for every new token, in float32, on the CPU."""

from functools import reduce
from operator import add

from sala_compile.codegen.kernels.rope_table.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, KernelBuilder, let, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding
from sala_compile.codegen.kernels.tir.table import constant_table
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes

ALONE_TOKENS = 16
"""Tokens whose table one thread makes sooner than it wakes the others."""


def emit(builder: KernelBuilder, spec: Spec, schedule: None) -> None:
    """Emit a row of the table for every new token."""
    half, columns, tensors = spec.half, 2 * spec.half, builder.tensors
    pitch = half + -half % LANES
    frequencies: list[float] = []
    for start in range(0, len(spec.frequencies), half):
        frequencies += [*spec.frequencies[start : start + half], *[0.0] * (pitch - half)]

    def first_frequency(row: Expr) -> Expr:
        """Where the frequencies of the token's sequence begin."""
        if len(spec.starts) == 1:
            return T.int32(0)
        length = let(tensors.call_lengths[tensors.token_sequence[row]])
        passed = (T.Cast("int32", length >= T.int32(start)) for start in spec.starts[1:])
        return let(reduce(add, passed) * pitch)

    def work(team: Team) -> None:
        with constant_table(f"frequency_{spec.symbol}", frequencies) as frequency:

            def token(row: Expr) -> None:
                table = tensors.table
                place = tensors.token_position[row] + T.int32(spec.position_offset)
                position = let(splat(T.Cast("float32", place)))
                begin = first_frequency(row)
                scale = _factor(spec, position)
                for first, live in live_lanes(half):
                    angle = let(position * frequency.vector(begin + T.int32(first)))
                    for column, value in ((0, vector.cosine(angle)), (half, vector.sine(angle))):
                        if scale is not None:
                            value = value * scale
                        Element.F32.store(table, row, column + first, value=value, count=live)
                clear_padding(Element.F32, table, row, columns)

            team.static(tensors.control.tokens, token)

    workers(builder, tensors.control, work, alone=tensors.control.tokens <= ALONE_TOKENS)


def _factor(spec: Spec, position: Expr) -> Expr | None:
    """What multiplies the row of a position; None for 1."""
    if not spec.log_offset:
        return None if spec.factor == 1.0 else splat(T.float32(spec.factor))
    growth = vector.log(position + splat(T.float32(spec.log_offset)))
    return let(growth * splat(T.float32(spec.factor)))


FAMILY = CpuFamily(name="rope_table", spec=Spec, describe=describe, arguments=arguments, emit=emit)
