"""keep_recent on the CPU: one (sequence, kv head) at a time, token after token."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.keep_recent.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir.builder import Expr, KernelBuilder, Tensors, let
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.recent_rows import RecentRows, keep_all
from sala_compile.codegen.kernels.tir.team import Team, workers


@dataclass(frozen=True, slots=True)
class Schedule:
    """A step of no more tokens than `alone` is not shared among the workers."""

    alone: int = 16


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit what is kept of all sequences."""
    control = builder.tensors.control

    def work(team: Team) -> None:
        items = control.sequences * spec.kv_heads
        team.static(items, lambda item: _item(spec, builder.tensors, item))

    workers(builder, control, work, alone=control.tokens <= schedule.alone)


def _item(spec: Spec, tensors: Tensors, item: Expr) -> None:
    sequence = let(item // spec.kv_heads)
    start, history = let(tensors.offsets[sequence]), let(tensors.history[sequence])
    length = let(history + tensors.offsets[sequence + 1] - start)
    sides = (
        (tensors.recent_k, tensors.k, spec.k_start),
        (tensors.recent_v, tensors.v, spec.v_start),
    )
    for recent, new, column in sides:
        rows = RecentRows(
            spec.element,
            spec.head_dim,
            spec.recent,
            recent,
            new,
            slot=let(tensors.slots[sequence]),
            head=let(item % spec.kv_heads),
            column=column,
            start=start,
            history=history,
        )
        keep_all(tensors.checkpoints[sequence], rows, length)


FAMILY = CpuFamily(
    name="keep_recent",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    emit=emit,
)
