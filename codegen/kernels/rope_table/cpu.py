"""[cos | sin] of position * theta^(-2i/D) for every new token, in float32, on the CPU."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import padded, spec_values, symbol_of
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, kernel, let, splat
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding
from sala_compile.codegen.kernels.tir.table import constant_table
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.rope import RopeTableOp
from sala_compile.sala_ir.reference.rope import inverse_frequencies

ALONE_TOKENS = 16
"""Tokens whose table one thread makes sooner than it wakes the others."""


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one rotary table."""

    theta: float
    head_dim: int

    @property
    def symbol(self) -> str:
        """A unique name."""
        return symbol_of("rope_table", str(self.head_dim), self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose."""


def rule(op: RopeTableOp, target: CpuTarget) -> KernelChoice | str:
    """Take every table."""
    spec = Spec(theta=op.theta.value.data, head_dim=op.head_dim.value.data)
    return KernelChoice(
        symbol=spec.symbol,
        family="rope_table",
        spec=spec_values(spec),
        operands=(),
        arguments=("control", "batch:token_position", "out:0"),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, token_position, table)."""
    half = spec.head_dim // 2
    frequencies = inverse_frequencies(spec.theta, spec.head_dim).tolist()
    frequencies += [0.0] * (-half % LANES)
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        positions = builder.tensor("token_position", ("tokens",), "int32")
        table = builder.tensor("table", ("table_rows", padded(spec.head_dim)), "float32")

        def work(team: Team) -> None:
            with constant_table(f"frequency_{spec.symbol}", frequencies) as frequency:

                def token(row: Expr) -> None:
                    position = let(splat(T.Cast("float32", positions[row])))
                    for first, live in live_lanes(half):
                        angle = let(position * frequency.vector(T.int32(first)))
                        cos, sin = vector.cosine(angle), vector.sine(angle)
                        Element.F32.store(table, row, first, value=cos, count=live)
                        Element.F32.store(table, row, half + first, value=sin, count=live)
                    clear_padding(Element.F32, table, row, spec.head_dim)

                team.split(control.tokens, token)

        workers(builder, control, work, alone=control.tokens <= ALONE_TOKENS)
    return builder.function
