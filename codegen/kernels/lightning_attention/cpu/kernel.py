"""Lightning attention on the CPU: one (sequence, head) at a time, in chunks or single steps."""

from sala_compile.codegen.kernels.arguments import Arguments, batch, result, workspace
from sala_compile.codegen.kernels.lightning_attention import spec as lightning
from sala_compile.codegen.kernels.lightning_attention.cpu.axes import axes
from sala_compile.codegen.kernels.lightning_attention.cpu.decay_table import decay_values
from sala_compile.codegen.kernels.lightning_attention.cpu.schedule import Schedule
from sala_compile.codegen.kernels.lightning_attention.cpu.sequence_heads import emit_item
from sala_compile.codegen.kernels.lightning_attention.spec import CHUNK, Spec
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.table import constant_table
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.mixers import LightningAttentionOp


def describe(op: LightningAttentionOp, target: CpuTarget) -> Spec | str:
    """Take every float32 lightning op whose state is float32."""
    fields = lightning.fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    return Schedule() if target.has_avx512 else Schedule(6, 1, 2)


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with what a chunk computes."""
    return (
        *batch("control", "offsets", "history", "generated", "slots", "checkpoints"),
        *lightning.inputs(spec),
        result("out", spec.out_element, padded(spec.num_heads * spec.head_dim)),
        workspace("chunk", "f32", schedule.workspace(spec.head_dim)),
    )


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the work on all heads of all sequences."""
    tensors = builder.tensors

    def work(team: Team) -> None:
        with constant_table(f"decay_{spec.symbol}", decay_values(spec)) as decay:

            def take(item: Expr) -> None:
                emit_item(spec, schedule, tensors, decay, team.worker, item)

            team.dynamic(tensors.control.sequences * spec.num_heads, take)

    workers(builder, tensors.control, work)


FAMILY = CpuFamily(
    name="lightning_attention",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    read_multiple=lambda schedule: CHUNK,
    axes=axes,
    emit=emit,
)
