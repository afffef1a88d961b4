"""attend_blocks on the CPU: one (token, kv head) at a time, all heads of a group together."""

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.attend_blocks import spec as attend
from sala_compile.codegen.kernels.attend_blocks.cpu.attend_rows import Attend
from sala_compile.codegen.kernels.attend_blocks.cpu.axes import axes
from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir.builder import KernelBuilder
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.product import widens
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.stages import AttendBlocksOp


def describe(op: AttendBlocksOp, target: CpuTarget) -> Spec | str:
    """Take every op with float32 queries and gate."""
    fields = attend.fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    vectors = 4 if target.has_avx512 else 1
    return Schedule(column_vectors=vectors, widened=widens(target))


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with scores, sums and outputs; queries and probabilities."""
    workspaces = (
        workspace("scores", "f32", schedule.floats(spec)),
        workspace("operands", schedule.product(spec).stored, schedule.operands(spec)),
    )
    return attend.arguments(spec, workspaces, packed=True)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the attention of all new tokens."""
    tensors = builder.tensors
    body = Attend(spec, schedule, tensors)
    queries = schedule.queries(spec)
    groups = (tensors.control.tokens + (queries - 1)) // queries

    def work(team: Team) -> None:
        team.dynamic(groups * spec.kv_heads, lambda item: body.item(team.worker, item))

    workers(builder, tensors.control, work)


FAMILY = CpuFamily(
    name="attend_blocks",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    axes=axes,
    emit=emit,
)
