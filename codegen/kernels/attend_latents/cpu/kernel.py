"""attend_latents on the CPU: new rows first, then a tile of queries with all heads at a time."""

from collections.abc import Callable

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.attend_latents import spec as attend
from sala_compile.codegen.kernels.attend_latents.cpu.append_rows import append
from sala_compile.codegen.kernels.attend_latents.cpu.attend_rows import AttendTiles, LatentTiles
from sala_compile.codegen.kernels.attend_latents.cpu.schedule import PARTIAL_RECORDS, Schedule
from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, when
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.latent import AttendLatentsOp

ALONE = 16
"""Rows that one thread writes sooner than it wakes the others."""


def describe(op: AttendLatentsOp, target: CpuTarget) -> Spec | str:
    """Take every op that any target takes whose blocks are whole tiles."""
    found = attend.describe(op, target)
    if isinstance(found, str):
        return found
    height = tiles(found, target).token_tile
    if found.block_size % height:
        return f"blocks of {found.block_size} tokens are no multiples of {height}"
    return found


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    return Schedule() if target.has_avx512 else Schedule(4, 1, 4)


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Rows of a tile of queries, and the tokens between two maxima."""
    return (
        single("query_vectors", 4, 8, 16),
        single("tile_tokens", 128, 256, 512, exact=False),
    )


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with what a worker computes."""
    element, is_packed = spec.element, spec.element is Element.BF16
    workspaces = (
        workspace("scores", "f32", schedule.scores(spec)),
        workspace("operands", element, schedule.operands(spec)),
        workspace("staged", element, schedule.staged(spec), when=is_packed),
        workspace("places", "i32", schedule.places(spec), when=spec.is_selected),
        workspace("partials", "f32", PARTIAL_RECORDS * schedule.record(spec)),
    )
    return attend.arguments(spec, workspaces)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the writes of all new rows, then the attention of all new tokens."""
    tensors, control = builder.tensors, builder.tensors.control

    def write(team: Team) -> None:
        team.static(control.tokens, lambda token: append(spec, tensors, token))

    workers(builder, control, write, alone=control.tokens <= ALONE)
    body = AttendTiles.of(LatentTiles(tensors, spec, schedule))

    def turn(items: Expr, emit_item: Callable[[Expr, Expr], None]) -> None:
        def work(team: Team) -> None:
            team.dynamic(items, lambda item: emit_item(team.worker, item))

        workers(builder, control, work)

    turn(body.number * body.parts, body.item)
    with when(body.is_split):
        turn(body.number, body.tile)


FAMILY = CpuFamily(
    name="attend_latents",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    axes=axes,
    emit=emit,
)
