"""[cos | sin] of position * frequency for every new token, in float32, on the CPU."""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from sala_compile.codegen.kernels.operands import spec_values, symbol_of
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, kernel, let, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding
from sala_compile.codegen.kernels.tir.table import constant_table
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.rope import RopeTableOp

ALONE_TOKENS = 16
"""Tokens whose table one thread makes sooner than it wakes the others."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one rotary table."""

    frequencies: tuple[float, ...]
    factor: float = 1.0
    starts: tuple[int, ...] = (0,)

    @property
    def half(self) -> int:
        """Cosines of a row: half of its columns."""
        return len(self.frequencies) // len(self.starts)

    @property
    def symbol(self) -> str:
        """A unique name."""
        return symbol_of("rope_table", str(2 * self.half), self)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the batch that are read: call lengths where frequencies follow them."""
        lengths = ("token_sequence", "call_lengths") if len(self.starts) > 1 else ()
        return ("token_position", *lengths)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose."""


def rule(op: RopeTableOp, target: CpuTarget) -> KernelChoice | str:
    """Take every table."""
    spec = Spec(**op.parameters)
    return KernelChoice(
        symbol=spec.symbol,
        family="rope_table",
        spec=spec_values(spec),
        operands=(),
        arguments=("control", *(f"batch:{field}" for field in spec.fields), "out:0"),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, token_position, [token_sequence, call_lengths,] table)."""
    half, columns = spec.half, 2 * spec.half
    pitch = half + -half % LANES
    frequencies: list[float] = []
    for start in range(0, len(spec.frequencies), half):
        frequencies += [*spec.frequencies[start : start + half], *[0.0] * (pitch - half)]
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        positions = builder.tensor("token_position", ("tokens",), "int32")
        lengths = [
            builder.tensor(name, (rows,), "int32")
            for name, rows in zip(spec.fields[1:], ("sequence_rows", "call_capacity"), strict=False)
        ]
        table = builder.tensor("table", ("table_rows", padded(columns)), "float32")

        def first_frequency(row: Expr) -> Expr:
            """Where the frequencies of the token's sequence begin."""
            if not lengths:
                return T.int32(0)
            sequences, calls = lengths
            length = let(calls[sequences[row]])
            passed = (T.Cast("int32", length >= T.int32(start)) for start in spec.starts[1:])
            return let(reduce(add, passed) * pitch)

        def work(team: Team) -> None:
            with constant_table(f"frequency_{spec.symbol}", frequencies) as frequency:

                def token(row: Expr) -> None:
                    position = let(splat(T.Cast("float32", positions[row])))
                    begin = first_frequency(row)
                    for first, live in live_lanes(half):
                        angle = let(position * frequency.vector(begin + T.int32(first)))
                        for column, value in (
                            (0, vector.cosine(angle)),
                            (half, vector.sine(angle)),
                        ):
                            if spec.factor != 1.0:
                                value = value * splat(T.float32(spec.factor))
                            Element.F32.store(table, row, column + first, value=value, count=live)
                    clear_padding(Element.F32, table, row, columns)

                team.split(control.tokens, token)

        workers(builder, control, work, alone=control.tokens <= ALONE_TOKENS)
    return builder.function
