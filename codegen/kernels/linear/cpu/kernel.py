"""y = scale * epilogue(x W^T + bias) + residual for any number of rows, on the CPU."""

from typing import Any

from sala_compile.codegen.kernels.linear.cpu.amx_tiles import TiledLinear
from sala_compile.codegen.kernels.linear.cpu.panel_vectors import Linear
from sala_compile.codegen.kernels.linear.cpu.spec import Schedule, Spec, default_schedule
from sala_compile.codegen.kernels.linear.cpu.widened_blocks import widened_division
from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.tir.builder import Expr, kernel, let
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.panels import PANEL_ROWS
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.base import columns_of, encoding_of, rows_of, weight_shape
from sala_compile.sala_ir.dialect.linear import LinearOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr

__all__ = ["Schedule", "Spec", "build", "default_schedule", "rule", "spec_of", "workspaces"]

SMALL = 1 << 17
"""Multiply-adds that one thread does sooner than it wakes the others."""


def workspaces(spec: Spec, schedule: Schedule) -> tuple[Workspace, ...]:
    """The scratch memory: sums of a block, and what is widened or packed."""
    return (Workspace("sums", "float32", schedule.workspace(spec)),)


def rule(op: LinearOp, target: CpuTarget) -> KernelChoice | str:
    """Take a linear whose input has the element type of its weight."""
    if element(op.x) is not element(op.weight):
        return f"input is {element(op.x)}, weight {element(op.weight)}: they must be equal"
    encoding = encoding_of(op.weight)
    if not encoding.is_plain:
        return f"the weight is stored as {encoding.label}, not as plain values"
    refusal = refuse_unless_float32(bias=op.bias, residual=op.residual)
    if refusal:
        return refusal
    spec = spec_of(op)
    if spec.x_start + spec.steps * spec.weight.pack > spec.x_pitch:
        return f"the input's columns from {spec.x_start} on end inside a pair"
    operands = indices_of(op.operands, op.x, op.weight, op.bias, op.residual)
    inputs = (f"in:{i}" for i in range(len(operands)))
    return KernelChoice(
        symbol=spec.symbol,
        family="linear",
        spec=spec_values(spec),
        operands=operands,
        arguments=("control", *inputs, "out:0", "workspace:0"),
        workspaces=workspaces(spec, default_schedule(spec, target)),
        weight_layouts={1: LayoutAttr.panel(PANEL_ROWS)},
    )


def spec_of(op: LinearOp) -> Spec:
    """The constants of the kernel for this linear."""
    views = column_views(x=op.x)
    if op.residual is not None:
        views |= column_views(residual=op.residual)
    return Spec(
        depth=columns_of(op.x),
        rows=weight_shape(op.weight)[0],
        weight=element(op.weight),
        output=element(op.result),
        scale=op.scale.value.data,
        bias=op.bias is not None,
        swiglu=op.is_swiglu,
        extent=rows_of(op.x).value,
        **views,
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """Return the PrimFunc (control, x, weight, bias?, residual?, y, sums).

    x and y have any capacity of rows; the memory of y may be that of the residual. A worker takes
    blocks of rows of its share of the panels, panel by panel, or goes by tiles (amx_tiles.py), or
    by blocks of widened values (widened_blocks.py).
    """
    schedule = schedule or default_schedule(spec, target)
    with kernel(spec.symbol, target, noalias=not spec.residual_pitch) as builder:
        linear = Linear.declare(builder, spec, schedule)
        live = let(linear.live)
        block_rows = schedule.block_rows
        blocks = let((live + block_rows - 1) // block_rows)
        panels = -(-spec.rows // PANEL_ROWS)
        tiled = TiledLinear.of(builder, linear)

        def by_vectors(team: Team) -> None:
            def block(item: Expr) -> None:
                first = let(item % blocks * block_rows)
                linear.block(
                    team.worker, let(item // blocks), first, let(T.min(live - first, block_rows))
                )

            team.take(blocks * panels, block)

        widened = widened_division(linear)

        def work(team: Team) -> None:
            if widened is not None:
                widened.work(team, live)
            elif tiled is not None:
                tiled.work(team, live)
            else:
                by_vectors(team)

        small_rows = SMALL // (spec.depth * spec.rows)
        workers(builder, linear.control, work, alone=live <= small_rows if small_rows else None)
    return builder.function
