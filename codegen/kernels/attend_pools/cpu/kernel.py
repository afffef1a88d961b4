"""attend_pools on the CPU: the query heads of a kv head of a token at a time."""

from collections.abc import Callable

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.attend_pools import spec as attend
from sala_compile.codegen.kernels.attend_pools.cpu.attend_rows import AttendPools
from sala_compile.codegen.kernels.attend_pools.cpu.schedule import SHARED, Schedule
from sala_compile.codegen.kernels.attend_pools.spec import Spec, describe
from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, choose, held
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    rows, sums = (8, 16) if target.has_avx512 else (4, 4)
    return Schedule(rows, sums, widened=widens(target))


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Tokens between two maxima."""
    return (single("tile_tokens", 128, 256, 512, exact=False),)


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with what a worker computes."""
    product, staged = schedule.product(spec), schedule.staged(spec)
    workspaces = (
        workspace("scores", "f32", schedule.floats(spec)),
        workspace("operands", product.stored, schedule.operands(spec)),
        workspace("places", "i32", 2 * schedule.entries(spec)),
        workspace("staged", spec.element, staged, when=staged > 0),
        workspace("partials", "f32", schedule.partials(spec), when=schedule.segments(spec) > 1),
    )
    return attend.arguments(spec, workspaces)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the attention of all new tokens; segments are shared where there are few."""
    control, parts = builder.tensors.control, schedule.segments(spec)
    body = AttendPools(spec, schedule, builder.tensors)
    items = held(control.tokens * spec.kv_heads)

    def turn(count: Expr, emit_item: Callable[[Expr, Expr], None]) -> None:
        def work(team: Team) -> None:
            team.dynamic(count, lambda item: emit_item(team.worker, item))

        workers(builder, control, work)

    def together() -> None:
        turn(items * parts, body.segment)
        turn(items, body.joined)

    if parts == 1:
        turn(items, body.whole)
        return
    few = T.And(control.workers > 1, items < SHARED * control.workers)
    choose(few, together, lambda: turn(items, body.whole))


FAMILY = CpuFamily(
    name="attend_pools",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    axes=axes,
    emit=emit,
)
