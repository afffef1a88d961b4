"""Products of the experts that the tokens of a step have chosen, on the CPU."""

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    activation,
    batch,
    given,
    result,
    workspace,
)
from sala_compile.codegen.kernels.experts.cpu.epilogue import DownEpilogue
from sala_compile.codegen.kernels.experts.cpu.expert_panels import ExpertPanels, Unit
from sala_compile.codegen.kernels.experts.cpu.expert_rows import ExpertRows, list_words
from sala_compile.codegen.kernels.experts.cpu.schedule import (
    Schedule,
    block_rows,
    default_tiles,
    group_panels,
    streams,
    workspaces,
)
from sala_compile.codegen.kernels.experts.spec import Part, Spec, describe
from sala_compile.codegen.kernels.linear.cpu.block_division import SHARES
from sala_compile.codegen.kernels.linear.cpu.kernel import SMALL
from sala_compile.codegen.kernels.linear_integers.cpu.integer_weights import panel_arguments
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, held, let, loop, scalar
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.integer_panels import IntegerPanels
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.layouts.panels import PANEL_ROWS, panel_shape
from sala_compile.sala_ir.dialect.weight_storage import LayoutAttr


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call; the workspace `list` has the rows by expert."""
    fixed, each = list_words(spec)
    residual = spec.residual_pitch
    return (
        *batch("control"),
        activation("x", spec.weight, spec.x_pitch),
        given("experts", "i32", "experts_rows", spec.chosen),
        activation("gates", "f32", spec.gates_pitch, when=spec.part is Part.DOWN),
        *_weight(spec),
        activation("residual", "f32", residual, when=bool(residual)),
        result("y", spec.output, padded(spec.columns)),
        workspace("list", "i32", fixed, per_token=each),
        *workspaces(spec, schedule),
    )


def _weight(spec: Spec) -> Arguments:
    rows = spec.experts * spec.rows
    if not spec.bits:
        shape = panel_shape(rows, spec.depth, spec.weight.pack)
        return (given("weight", spec.weight, *shape),)
    stored = IntegerPanels(
        rows,
        spec.depth,
        spec.bits,
        spec.group,
        zeros=spec.stores_zeros,
        minima=spec.has_minima,
        super_block=spec.super_block,
    )
    return panel_arguments(stored)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the list of rows by expert, then the products of all units."""
    tensors = builder.tensors
    rows = ExpertRows(spec, tensors, block_rows(schedule))
    live = let(tensors.control.tokens)
    rows.emit(tensors.control)

    def work(team: Team) -> None:
        ready = scalar(T.int32(-1), "int32")
        panels = ExpertPanels.of(spec, schedule, tensors, rows, team.worker, ready)
        if spec.part is Part.UP:
            _up(team, panels, live)
        else:
            _down(team, panels, live)

    small = SMALL // (spec.depth * spec.rows * spec.chosen)
    workers(builder, tensors.control, work, alone=live <= small if small else None)


def _up(team: Team, panels: ExpertPanels, live: Expr) -> None:
    """Emit some panels of a unit at a time: units one after the other, so that few are prepared
    by more than one worker.
    """
    spec, rows = panels.spec, panels.rows
    units = rows.units()
    width = _width(panels, held(units * spec.panels // (team.count * SHARES)))
    groups = held((spec.panels + width - 1) // width)

    def item(index: Expr) -> None:
        number = held(index // groups)
        expert, first, count = rows.unit(number, live)
        panel = held(index % groups * width)
        share = held(T.min(spec.panels - panel, width))
        unit = Unit(number, first, count)
        panels.multiply(unit, held(expert * spec.panels + panel), share)

    team.dynamic(units * groups, item)


def _down(team: Team, panels: ExpertPanels, live: Expr) -> None:
    """Emit some columns of all tokens at a time: their experts one after the other, ascending."""
    spec, rows, epilogue = panels.spec, panels.rows, panels.epilogue
    assert isinstance(epilogue, DownEpilogue), "the epilogue of the second product"
    units = rows.units()
    width = _width(panels, held(spec.panels // (team.count * SHARES)))

    def item(index: Expr) -> None:
        panel = held(index * width)
        share = held(T.min(spec.panels - panel, width))
        epilogue.begin(live, panel, share)
        with loop(units) as number:
            expert, first, count = rows.unit(number, live)
            unit = Unit(number, first, count)
            panels.multiply(unit, held(expert * spec.panels + panel), share)

    team.dynamic(held((spec.panels + width - 1) // width), item)


def _width(panels: ExpertPanels, fair: Expr) -> Expr:
    """Panels of an item: what is fair, in whole streams, up to what the workspace holds."""
    schedule, together = panels.schedule, streams(panels.spec, panels.schedule)
    width = held(T.max(T.min(fair, group_panels(schedule)), 1))
    return held((width + (together - 1)) // together * together)


FAMILY = CpuFamily(
    name="experts",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    layouts=lambda spec: {"weight": LayoutAttr.panel(PANEL_ROWS)},
    emit=emit,
)
