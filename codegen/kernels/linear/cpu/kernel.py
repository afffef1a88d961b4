"""y = scale * epilogue(x W^T + bias) + residual for any number of rows, on the CPU."""

from collections.abc import Callable

from sala_compile.codegen.kernels.arguments import Arguments, given, workspace
from sala_compile.codegen.kernels.linear.cpu import spec as linear
from sala_compile.codegen.kernels.linear.cpu.amx_tiles import AmxTiles
from sala_compile.codegen.kernels.linear.cpu.axes import axes
from sala_compile.codegen.kernels.linear.cpu.block_division import Division
from sala_compile.codegen.kernels.linear.cpu.epilogue import LinearEpilogue
from sala_compile.codegen.kernels.linear.cpu.panel_vectors import PanelVectors
from sala_compile.codegen.kernels.linear.cpu.schedule import (
    Blocks,
    Schedule,
    Tiles,
    Vectors,
    default_tiles,
)
from sala_compile.codegen.kernels.linear.cpu.spec import Spec
from sala_compile.codegen.kernels.linear.cpu.widened_blocks import WidenedOperands
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, let
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.rows import live_rows
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tiles import INSTRUCTIONS
from sala_compile.codegen.layouts.panels import PANEL_ROWS, panel_shape
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.base import encoding_of
from sala_compile.sala_ir.dialect.linear import LinearOp
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr

SMALL = 1 << 17
"""Multiply-adds that one thread does sooner than it wakes the others."""


def describe(op: LinearOp, target: CpuTarget) -> Spec | str:
    """Take a linear whose input has the element type of its weight, of plain values."""
    encoding = encoding_of(op.weight)
    if not encoding.is_plain:
        return f"the weight is stored as {encoding.label}, not as plain values"
    fields = linear.fields_of(op)
    if isinstance(fields, str):
        return fields
    spec = Spec(**fields)
    if spec.x_start + spec.steps * spec.weight.pack > spec.x_pitch:
        return f"the input's columns from {spec.x_start} on end inside a pair"
    return spec


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with the sums of a block and what is widened or packed."""
    shape = panel_shape(spec.rows, spec.depth, spec.weight.pack)
    weight = (given("weight", spec.weight, *shape),)
    return linear.arguments(spec, weight, (workspace("sums", "f32", schedule.workspace(spec)),))


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the outputs of all live rows by the way that the schedule names."""
    control = builder.tensors.control
    live = let(live_rows(control, spec.extent))
    small_rows = SMALL // (spec.depth * spec.rows)
    alone = live <= small_rows if small_rows else None
    workers(builder, control, _work(builder, spec, schedule, live), alone=alone)


def _work(
    builder: KernelBuilder, spec: Spec, schedule: Schedule, live: Expr
) -> Callable[[Team], None]:
    tensors = builder.tensors
    epilogue = LinearEpilogue(spec, tensors)
    match schedule:
        case Vectors():
            return PanelVectors(spec, schedule, tensors, epilogue).shared(live)
        case Tiles():
            assert builder.target.has_amx_bf16, "this schedule is for targets with AMX"
            builder.require(*INSTRUCTIONS)
            tiled = AmxTiles(spec, schedule, tensors, epilogue)
            return lambda team: tiled.work(team, live)
        case Blocks():
            operands = WidenedOperands(spec, schedule, tensors)
            division = Division(spec, schedule, epilogue, tensors.sums, operands)
            return lambda team: division.work(team, live)


FAMILY = CpuFamily(
    name="linear",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    axes=axes,
    layouts=lambda spec: {"weight": LayoutAttr.panel(PANEL_ROWS)},
    emit=emit,
)
