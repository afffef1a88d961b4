"""attend_blocks on the CPU: one (token, kv head) at a time, all heads of a group together."""

from typing import Any, cast

from xdsl.dialects.builtin import TensorType
from xdsl.ir import SSAValue

from sala_compile.codegen.kernels.attend_blocks.cpu.attend_rows import Attend
from sala_compile.codegen.kernels.attend_blocks.cpu.parameters import Parameters
from sala_compile.codegen.kernels.attend_blocks.spec import Schedule, Spec
from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
)
from sala_compile.codegen.kernels.tir.builder import kernel
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import AttendBlocksOp

__all__ = ["Schedule", "Spec", "build", "default_schedule", "rule", "workspaces"]


def default_schedule(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    vectors = 4 if target.has_avx512 else 1
    return Schedule(column_vectors=vectors, widened=widens(target))


def workspaces(spec: Spec, schedule: Schedule) -> tuple[Workspace, ...]:
    """The scratch memory: scores, sums and outputs; queries and probabilities."""
    return (
        Workspace("scores", "float32", schedule.floats(spec)),
        Workspace("operands", schedule.product(spec).dtype, schedule.operands(spec)),
    )


def rule(op: AttendBlocksOp, target: CpuTarget) -> KernelChoice | str:
    """Take every op with float32 queries and gate."""
    refusal = refuse_unless_float32(q=op.q, gate=op.gate)
    if refusal:
        return refusal
    gate = {} if op.gate is None else column_views(gate=op.gate)
    spec = Spec(
        **op.parameters,
        block_size=kv_type(op.kv).block_size.data,
        element=element(op.kv),
        out_element=element(op.out),
        budget=0 if op.blocks is None else _width(op.blocks),
        gate=op.gate is not None,
        **column_views(q=op.q),
        **gate,
    )
    operands = indices_of(op.operands, op.q, op.kv, op.blocks, op.counts, op.gate)
    return KernelChoice(
        symbol=spec.symbol,
        family="attend_blocks",
        spec=spec_values(spec),
        operands=operands,
        arguments=(
            "control",
            "batch:token_sequence",
            "batch:token_position",
            "batch:offsets",
            "batch:slots",
            "batch:page_table",
            "in:0",
            "in:1.k",
            "in:1.v",
            *(f"in:{i}" for i in range(2, len(operands))),
            "out:0",
            "out:1",
            "workspace:0",
            "workspace:1",
        ),
        workspaces=workspaces(spec, default_schedule(spec, target)),
    )


def _width(blocks: SSAValue) -> int:
    """The entries of a block list."""
    return cast(TensorType, blocks.type).get_shape()[2]


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """The PrimFunc; its parameters are the `arguments` of `rule`, in that order."""
    schedule = schedule or default_schedule(spec, target)
    with kernel(spec.symbol, target) as builder:
        tensors = Parameters.declare(builder, spec, schedule)
        body = Attend(spec, schedule, tensors)
        queries = schedule.queries(spec)
        groups = (tensors.control.tokens + (queries - 1)) // queries

        def work(team: Team) -> None:
            team.take(groups * spec.kv_heads, lambda item: body.item(team.worker, item))

        workers(builder, tensors.control, work)
    return builder.function
