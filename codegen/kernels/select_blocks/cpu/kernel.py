"""select_blocks on the CPU: one (token, kv head) at a time, all heads of a group together."""

from typing import Any

from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.select_blocks.cpu.select_rows import Select
from sala_compile.codegen.kernels.select_blocks.spec import Schedule, Spec
from sala_compile.codegen.kernels.tir.builder import LANES, kernel
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tiles import INSTRUCTIONS, call, configure, tiles
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.stages import SelectBlocksOp

__all__ = ["Schedule", "Spec", "build", "default_schedule", "rule", "workspaces"]


def default_schedule(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    if target.has_avx512:
        tiled = target.has_amx_bf16
        return Schedule(row_tile=4 if tiled else 8, widened=widens(target), tiled=tiled)
    return Schedule(row_tile=4, column_vectors=1, accumulators=4, widened=widens(target))


def workspaces(spec: Spec, schedule: Schedule) -> tuple[Workspace, ...]:
    """The scratch memory: scores of fine keys, scores of blocks as integers, queries."""
    floats = schedule.heads_floats(spec) + schedule.slack()
    return (
        Workspace("scores", "float32", floats, spec.ratio),
        Workspace("ranks", "int32", 2 * LANES, 1),
        Workspace("queries", schedule.product(spec).dtype, schedule.queries(spec)),
    )


def rule(op: SelectBlocksOp, target: CpuTarget) -> KernelChoice | str:
    """Take every op with float32 queries: the types guarantee windows that pooling assumes."""
    refusal = refuse_unless_float32(q=op.q)
    if refusal:
        return refusal
    spec = Spec(
        **op.parameters,
        element=element(op.ck),
        **column_views(q=op.q),
    )
    return KernelChoice(
        symbol=spec.symbol,
        family="select_blocks",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.q, op.ck),
        arguments=(
            "control",
            "batch:token_sequence",
            "batch:token_position",
            "batch:call_lengths",
            "batch:slots",
            "batch:compressed_table",
            "in:0",
            "in:1.fine",
            "in:1.coarse",
            "out:0",
            "out:1",
            "workspace:0",
            "workspace:1",
            "workspace:2",
        ),
        workspaces=workspaces(spec, default_schedule(spec, target)),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """The PrimFunc; its parameters are the `arguments` of `rule`, in that order."""
    schedule = schedule or default_schedule(spec, target)
    with kernel(spec.symbol, target) as builder:
        body = Select.declare(builder, spec, schedule)
        control = body.control
        unscored = max(spec.dense_len, spec.budget * spec.block_size)
        alone = T.And(control.sequences == 1, body.call_lengths[0] < unscored)

        def work(team: Team) -> None:
            items = control.tokens * spec.kv_heads
            team.take(items, lambda item: body.item(team.worker, item))

        def tiled_work(team: Team) -> None:
            with tiles():
                configure(spec.group, spec.group)
                work(team)
                call("release")

        tiled = schedule.uses_tiles(spec)
        if tiled:
            builder.require(*INSTRUCTIONS)
        workers(builder, control, tiled_work if tiled else work, alone=alone)
    return builder.function
