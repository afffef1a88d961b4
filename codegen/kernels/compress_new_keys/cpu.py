"""compress_new_keys on the CPU: one (sequence, kv head) at a time, token after token."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch
from sala_compile.codegen.kernels.compress_new_keys.spec import Spec, fields_of, operands
from sala_compile.codegen.kernels.page_rows import CompressedLevel
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    KernelBuilder,
    Registers,
    Tensors,
    held,
    lanes,
    let,
    loop,
    registers,
    scratch,
    splat,
)
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.page_access import complete_windows, slot_of, write_key
from sala_compile.codegen.kernels.tir.recent_rows import Load, RecentRows, keep_all
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded
from sala_compile.sala_ir.dialect.stages import CompressKeysOp, CompressNewKeysOp


@dataclass(frozen=True, slots=True)
class Schedule:
    """A step of no more tokens than `alone` is not shared among the workers."""

    alone: int = 16


def describe(op: CompressNewKeysOp | CompressKeysOp, target: object) -> Spec | str:
    """Take every op with float32 keys that are not in pages."""
    fields = fields_of(op)
    return fields if isinstance(fields, str) else Spec(**fields)


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call."""
    fields = ("control", "offsets", "history", "slots", "compressed_table")
    drafts = batch("checkpoints", when=spec.keeps)
    return (*batch(*fields), *drafts, *operands(spec, packed=True))


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the windows of all sequences, then what is kept of their keys."""
    control = builder.tensors.control

    def work(team: Team) -> None:
        items = control.sequences * spec.kv_heads
        team.static(items, lambda item: _item(spec, builder.tensors, item))

    workers(builder, control, work, alone=control.tokens <= schedule.alone)


def _item(spec: Spec, tensors: Tensors, item: Expr) -> None:
    sequence, head = let(item // spec.kv_heads), let(item % spec.kv_heads)
    start = let(tensors.offsets[sequence])
    history = let(tensors.history[sequence])
    length = let(history + tensors.offsets[sequence + 1] - start)
    rows = RecentRows(
        spec.element,
        spec.head_dim,
        spec.recent,
        tensors.recent,
        tensors.k,
        slot=let(tensors.slots[sequence]),
        head=head,
        column=spec.k_start,
        start=start,
        history=history,
    )
    keys = _Keys(spec, tensors, rows)
    for level in spec.levels:
        first = let(complete_windows(level.size, level.stride, history))
        last = let(complete_windows(level.size, level.stride, length))
        with loop(last - first) as turn:
            keys.write_mean(level, let(first + turn))
    if spec.keeps:
        keep_all(tensors.checkpoints[sequence], keys.rows, length)


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys of one head of a sequence that the means are of."""

    spec: Spec
    tensors: Tensors
    rows: RecentRows

    def write_mean(self, level: CompressedLevel, index: Expr) -> None:
        """Emit window `index` of a level: its tokens are added in their order."""
        spec = self.spec
        columns = list(live_lanes(spec.head_dim))
        sums = registers(len(columns)).fill(len(columns))
        begin = held(index * level.stride)
        self.rows.each(begin, begin + level.size, lambda _, load: self._add(sums, load))
        mean = scratch((padded(spec.head_dim),))
        for number, (column, _) in enumerate(columns):
            mean[lanes(column)] = sums[number] * splat(1.0 / level.size)
        table, row, head = self.tensors.compressed_table, self.rows.slot, self.rows.head
        run, slot = slot_of(level, table, row, head, held(index + 1))
        write_key(spec.compressed_element, getattr(self.tensors, level.name), run, slot, mean)

    def _add(self, sums: Registers, load: Load) -> None:
        for number, (column, live) in enumerate(live_lanes(self.spec.head_dim)):
            sums[number] = sums[number] + load(column, live)


FAMILY = CpuFamily(
    name="compress_new_keys",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    emit=emit,
)
