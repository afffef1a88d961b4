"""The statements of the lightning attention kernel; README.md has the mathematics."""

from sala_compile.codegen.kernels.lightning_attention.cpu.chunked_form import chunks
from sala_compile.codegen.kernels.lightning_attention.cpu.head_work import Head
from sala_compile.codegen.kernels.lightning_attention.cpu.recurrent_step import steps
from sala_compile.codegen.kernels.lightning_attention.cpu.schedule import Schedule
from sala_compile.codegen.kernels.lightning_attention.spec import Spec
from sala_compile.codegen.kernels.tir.builder import Expr, Tensors, choose, let, long, when
from sala_compile.codegen.kernels.tir.table import Table


def emit_item(
    spec: Spec, schedule: Schedule, tensors: Tensors, decay: Table, worker: Expr, item: Expr
) -> None:
    """Emit the work on one (sequence, head): item // heads, item % heads."""
    heads = spec.num_heads
    sequence, head = let(item // heads), let(item % heads)
    start = let(tensors.offsets[sequence])
    count = let(tensors.offsets[sequence + 1] - start)
    history = let(tensors.history[sequence])
    slot = let(long(tensors.slots[sequence]))
    work = Head(spec, schedule, tensors, decay, worker, head, slot)
    with when(history == 0):
        work.clear_state()
    choose(
        tensors.generated[sequence] != 0,
        lambda: steps(work, start, count, let(long(tensors.checkpoints[sequence]))),
        lambda: chunks(work, start, count, history),
    )
    with when(head == heads - 1):
        work.clear_padding(start, count)
