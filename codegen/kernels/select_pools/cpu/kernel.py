"""select_pools on the CPU: new keys first, then tiles of queries through their pasts."""

from collections.abc import Callable

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.select_pools import spec as select
from sala_compile.codegen.kernels.select_pools.cpu.schedule import PART_RECORDS, Schedule
from sala_compile.codegen.kernels.select_pools.cpu.select_tiles import SelectTiles
from sala_compile.codegen.kernels.select_pools.cpu.write_keys import write
from sala_compile.codegen.kernels.select_pools.spec import Spec, describe
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, when
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget

ALONE = 16
"""Rows that one thread writes or lists sooner than it wakes the others."""


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    if target.has_avx512:
        return Schedule(widened=widens(target))
    return Schedule(row_tile=4, column_vectors=1, accumulators=4, widened=widens(target))


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Heads and keys of a tile, queries of a tile: the choice stays the same."""
    return (
        single("row_tile", 4, 8, 12),
        single("column_vectors", 1, 2, 4),
        single("query_rows", 32, 64, 128),
    )


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with what a worker computes."""
    stored, weights = schedule.product(spec).stored, schedule.queries(spec) * spec.heads
    workspaces = (
        workspace("queries", stored, schedule.rows(spec)),
        workspace("factors", "f32", weights, when=spec.is_weighted),
        workspace("candidates", "i32", schedule.candidates(spec)),
        workspace("parts", "i32", PART_RECORDS * schedule.record(spec)),
    )
    return select.arguments(spec, workspaces)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the writes of new keys, then the choices of all new tokens."""
    tensors, control = builder.tensors, builder.tensors.control

    def write_all(team: Team) -> None:
        team.static(control.tokens, lambda token: write(spec, tensors, token))

    workers(builder, control, write_all, alone=control.tokens <= ALONE)
    body = SelectTiles.of(spec, schedule, tensors)

    def turn(items: Expr, emit_item: Callable[[Expr, Expr], None]) -> None:
        def work(team: Team) -> None:
            team.dynamic(items, lambda item: emit_item(team.worker, item))

        few = T.And(control.tokens <= ALONE, body.most <= spec.count)
        workers(builder, control, work, alone=few)

    turn(body.number * body.parts, body.item)
    with when(body.is_split):
        turn(body.number, body.tile)


FAMILY = CpuFamily(
    name="select_pools",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    axes=axes,
    emit=emit,
)
