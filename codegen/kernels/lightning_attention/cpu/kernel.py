"""Lightning attention on the CPU: one (sequence, head) at a time, in chunks or single steps."""

from typing import Any

from sala_compile.codegen.kernels.lightning_attention.cpu.decay_table import decay_values
from sala_compile.codegen.kernels.lightning_attention.cpu.parameters import Parameters
from sala_compile.codegen.kernels.lightning_attention.cpu.sequence_heads import emit_item
from sala_compile.codegen.kernels.lightning_attention.spec import CHUNK, Schedule, Spec
from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.tir.builder import Expr, kernel
from sala_compile.codegen.kernels.tir.table import constant_table
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp

__all__ = ["CHUNK", "Schedule", "Spec", "build", "default_schedule", "rule", "workspaces"]


def default_schedule(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    return Schedule() if target.has_avx512 else Schedule(6, 1, 2)


def workspaces(spec: Spec, schedule: Schedule) -> tuple[Workspace, ...]:
    """The scratch memory: what a chunk computes."""
    return (Workspace("chunk", "float32", schedule.workspace(spec.head_dim)),)


def rule(op: LightningAttentionOp, target: CpuTarget) -> KernelChoice | str:
    """Take every float32 lightning op whose state is float32."""
    refusal = refuse_unless_float32(q=op.q, k=op.k, v=op.v, state=op.state, rope=op.rope)
    if refusal:
        return refusal
    spec = Spec(
        **op.parameters,
        **column_views(q=op.q, k=op.k, v=op.v),
        norm=op.q_norm is not None,
        rope=op.rope is not None,
        out_element=element(op.out),
    )
    inputs = [op.q, op.k, op.v, op.state, op.q_norm, op.k_norm, op.rope]
    operands = indices_of(op.operands, *inputs)
    return KernelChoice(
        symbol=spec.symbol,
        family="lightning_attention",
        spec=spec_values(spec),
        operands=operands,
        arguments=(
            "control",
            "batch:offsets",
            "batch:history",
            "batch:generated",
            "batch:slots",
            *(f"in:{i}" for i in range(len(operands))),
            "out:0",
            "workspace:0",
        ),
        workspaces=workspaces(spec, default_schedule(spec, target)),
        read_multiple=CHUNK,
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """The PrimFunc; its parameters are the `arguments` of `rule`, in that order."""
    schedule = schedule or default_schedule(spec, target)
    with kernel(spec.symbol, target) as builder:
        control = builder.control()
        tensors = Parameters.declare(builder, spec, schedule)

        def work(team: Team) -> None:
            with constant_table(f"decay_{spec.symbol}", decay_values(spec)) as decay:

                def take(item: Expr) -> None:
                    emit_item(spec, schedule, tensors, decay, team.worker, item)

                team.take(control.sequences * spec.num_heads, take)

        workers(builder, control, work)
    return builder.function
