"""select_blocks on the CPU: one (token, kv head) at a time, all heads of a group together."""

from sala_compile.codegen.kernels.arguments import Arguments, batch, workspace
from sala_compile.codegen.kernels.select_blocks import spec as select
from sala_compile.codegen.kernels.select_blocks.cpu.axes import axes
from sala_compile.codegen.kernels.select_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.select_blocks.cpu.select_rows import Select
from sala_compile.codegen.kernels.select_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import LANES, KernelBuilder
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tiles import INSTRUCTIONS, call, configure, tiles
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp


def describe(op: SelectBlocksOp, target: CpuTarget) -> Spec | str:
    """Take every op with float32 queries: the types guarantee windows that pooling assumes."""
    fields = select.fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def default_tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    if target.has_avx512:
        tiled = target.has_amx_bf16
        return Schedule(row_tile=4 if tiled else 8, widened=widens(target), tiled=tiled)
    return Schedule(row_tile=4, column_vectors=1, accumulators=4, widened=widens(target))


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with scores of fine keys, ranks of blocks, and queries."""
    floats = schedule.heads_floats(spec) + schedule.slack()
    fields = ("token_sequence", "token_position", "call_lengths", "slots", "compressed_table")
    workspaces = (
        workspace("scores", "f32", floats, per_page=spec.page_blocks * spec.ratio),
        workspace("ranks", "i32", 2 * LANES, per_page=spec.page_blocks),
        workspace("queries", schedule.product(spec).stored, schedule.queries(spec)),
    )
    return select.arguments(spec, batch("control", *fields), workspaces, packed=True)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the selection for all new tokens."""
    tensors = builder.tensors
    body, control = Select(spec, schedule, tensors), tensors.control
    unscored = max(spec.dense_len, spec.budget * spec.block_size)
    alone = T.And(control.sequences == 1, tensors.call_lengths[0] < unscored)

    def work(team: Team) -> None:
        items = control.tokens * spec.kv_heads
        team.dynamic(items, lambda item: body.item(team.worker, item))

    def tiled_work(team: Team) -> None:
        with tiles():
            configure(spec.group, spec.group)
            work(team)
            call("release")

    tiled = schedule.uses_tiles(spec)
    if tiled:
        builder.require(*INSTRUCTIONS)
    workers(builder, control, tiled_work if tiled else work, alone=alone)


FAMILY = CpuFamily(
    name="select_blocks",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=default_tiles,
    axes=axes,
    emit=emit,
)
