"""Gated recurrences on the CPU: one (sequence, head) at a time, in chunks or single steps."""

from sala_compile.codegen.kernels.arguments import Arguments, batch, result, workspace
from sala_compile.codegen.kernels.choices import Axis, single
from sala_compile.codegen.kernels.gated_recurrence import spec as recurrence
from sala_compile.codegen.kernels.gated_recurrence.cpu.chunked_form import chunks
from sala_compile.codegen.kernels.gated_recurrence.cpu.head_work import StateHead
from sala_compile.codegen.kernels.gated_recurrence.cpu.recurrent_step import steps
from sala_compile.codegen.kernels.gated_recurrence.cpu.schedule import Places, Schedule
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Spec
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, choose, let, long, when
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.recurrence import GatedDeltaOp, StateSpaceOp


def describe(op: GatedDeltaOp | StateSpaceOp, target: CpuTarget) -> Spec | str:
    """Take every float32 op whose state is float32."""
    fields = recurrence.fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def tiles(spec: Spec, target: CpuTarget) -> Schedule:
    """The tiles that fill the registers of the target."""
    return Schedule() if target.has_avx512 else Schedule(4, 1, 2)


def axes(spec: Spec, target: CpuTarget) -> tuple[Axis, ...]:
    """Vectors of a single step, then register tiles of a chunk."""
    limit = 24 if target.has_avx512 else 8
    shapes = ((4, 2), (8, 2), (4, 4), (6, 4), (8, 1), (4, 1))
    fitting = [shape for shape in shapes if shape[0] * shape[1] <= limit]
    return (
        single("step_vectors", 2, 4, 8, exact=False),
        Axis(
            "tile",
            tuple({"row_tile": rows, "column_vectors": vectors} for rows, vectors in fitting),
            exact=False,
        ),
    )


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with what a chunk computes."""
    return (
        *batch("control", "offsets", "history", "generated", "slots", "checkpoints"),
        *recurrence.inputs(spec),
        result("out", spec.out_element, padded(spec.num_heads * spec.value_dim)),
        workspace("chunk", "f32", Places.of(spec, schedule).size),
    )


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the work on all heads of all sequences."""
    tensors = builder.tensors

    def work(team: Team) -> None:
        def take(item: Expr) -> None:
            sequence, head = let(item // spec.num_heads), let(item % spec.num_heads)
            slot = let(long(tensors.slots[sequence]))
            _emit_head(StateHead(spec, schedule, tensors, team.worker, head, slot), sequence)

        team.dynamic(tensors.control.sequences * spec.num_heads, take)

    workers(builder, tensors.control, work)


def _emit_head(work: StateHead, sequence: Expr) -> None:
    tensors = work.tensors
    start = let(tensors.offsets[sequence])
    count = let(tensors.offsets[sequence + 1] - start)
    history = let(tensors.history[sequence])
    with when(history == 0):
        work.clear_state()
    choose(
        tensors.generated[sequence] != 0,
        lambda: steps(work, start, count, let(long(tensors.checkpoints[sequence]))),
        lambda: chunks(work, start, count, history),
    )
    with when(work.head == work.spec.num_heads - 1):
        work.clear_padding(start, count)


FAMILY = CpuFamily(
    name="gated_recurrence",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    tiles=tiles,
    read_multiple=lambda schedule: CHUNK,
    axes=axes,
    emit=emit,
)
