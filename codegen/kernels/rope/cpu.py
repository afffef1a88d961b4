"""Rotation of dimension i of every head with dimension i + R/2, on the CPU."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
    symbol_of,
)
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import Expr, kernel, let, loop
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.rows import clear_padding, for_rows
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.base import columns_of
from sala_compile.sala_ir.dialect.rope import RopeOp


@dataclass(frozen=True, slots=True)
class Spec:
    """Constants of one rotation; `rotated` dimensions of a head are, the others are copied."""

    columns: int
    head_dim: int
    rotated: int
    x_start: int
    x_pitch: int
    x: Element
    output: Element

    def __post_init__(self) -> None:
        """Accept element types by name, as a saved spec has them."""
        object.__setattr__(self, "x", Element(self.x))
        object.__setattr__(self, "output", Element(self.output))

    @property
    def symbol(self) -> str:
        """A unique name."""
        return symbol_of("rope", f"{self.columns // self.head_dim}x{self.head_dim}", self)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nothing to choose: bound by memory."""


def rule(op: RopeOp, target: CpuTarget) -> KernelChoice | str:
    """Take every rotation by a float32 table that is a buffer of its own."""
    refusal = refuse_unless_float32(table=op.table)
    if refusal:
        return refusal
    head_dim = op.head_dim.value.data
    rotated = columns_of(op.table)
    if column_views(table=op.table) != {"table_start": 0, "table_pitch": padded(rotated)}:
        return "the table is a view of other columns"
    spec = Spec(
        columns=columns_of(op.x),
        head_dim=head_dim,
        rotated=rotated,
        x=element(op.x),
        output=element(op.result),
        **column_views(x=op.x),
    )
    return KernelChoice(
        symbol=spec.symbol,
        family="rope",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.x, op.table),
        arguments=("control", "in:0", "in:1", "out:0"),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, x, table, y)."""
    half = spec.rotated // 2
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        x = builder.tensor("x", ("x_rows", spec.x_pitch), spec.x.dtype)
        table = builder.tensor("table", ("table_rows", padded(spec.rotated)), "float32")
        y = builder.tensor("y", ("y_rows", padded(spec.columns)), spec.output.dtype)

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

        for_rows(builder, control, control.tokens, spec.columns, rotate)
    return builder.function
