"""compress_keys on the CPU: one (window, kv head) at a time, straight from the pages of keys."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, batch
from sala_compile.codegen.kernels.compress_keys.spec import Spec, describe, pools
from sala_compile.codegen.kernels.page_rows import CompressedLevel
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    KernelBuilder,
    Tensor,
    Tensors,
    let,
    loop,
    scratch,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import (
    complete_windows,
    page_of,
    slot_of,
    write_key,
)
from sala_compile.codegen.kernels.tir.product import split_pairs
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Schedule:
    """A step of no more tokens than `alone` is not shared among the workers."""

    alone: int = 16


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call."""
    tables = ("page_table", "compressed_table")
    return (
        *batch("control", "offsets", "history", "slots", *tables),
        *pools(spec, packed=True),
    )


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the windows of all sequences."""
    body, control = _Compress(spec, builder.tensors), builder.tensors.control

    def work(team: Team) -> None:
        with loop(control.sequences) as sequence:
            body.sequence(sequence, team)

    workers(builder, control, work, alone=control.tokens <= schedule.alone)


@dataclass(frozen=True, slots=True)
class _Compress:
    spec: Spec
    tensors: Tensors

    def sequence(self, sequence: Expr, team: Team) -> None:
        """Emit this worker's share of the windows that end among the sequence's new tokens."""
        history = let(self.tensors.history[sequence])
        new = let(self.tensors.offsets[sequence + 1] - self.tensors.offsets[sequence])
        row = let(self.tensors.slots[sequence])
        for level in self.spec.levels:
            pool = getattr(self.tensors, level.name)
            first = let(complete_windows(level.size, level.stride, history))
            items = let(
                (complete_windows(level.size, level.stride, history + new) - first)
                * self.spec.kv_heads
            )

            def window(
                item: Expr, level: CompressedLevel = level, pool: Tensor = pool, first: Expr = first
            ) -> None:
                index = let(first + item // self.spec.kv_heads)
                self._window(level, pool, row, index, let(item % self.spec.kv_heads))

            team.static(items, window)

    def _window(
        self, level: CompressedLevel, pool: Tensor, row: Expr, index: Expr, head: Expr
    ) -> None:
        spec = self.spec
        mean = scratch((padded(spec.head_dim),))
        starts = []
        for part in range(level.size // spec.kernel_stride):
            token = let(index * level.stride + part * spec.kernel_stride)
            page = page_of(self.tensors.page_table, row, token // spec.block_size)
            starts.append((page, let(token % spec.block_size)))
        with loop(spec.head_dim // spec.element.pack) as pair:
            sums = self._sums(head, pair, starts)
            for offset, value in enumerate(sums):
                mean[pair * len(sums) + offset] = value * T.float32(1.0 / level.size)
        run, slot = slot_of(level, self.tensors.compressed_table, row, head, let(index + 1))
        write_key(spec.compressed_element, pool, run, slot, mean)

    def _sums(self, head: Expr, pair: Expr, starts: list[tuple[Expr, Expr]]) -> list[Expr]:
        """The sums over a window of one dimension (f32) or of two (bf16).

        Lane i adds the tokens i, i + stride, ... in this order; then the lanes are folded.
        """
        totals: list[Expr] = []
        for page, slot in starts:
            for column, live in live_lanes(self.spec.kernel_stride):
                address = (page, head, pair, slot + column, 0)
                parts = self._unpacked(vector.load(self.tensors.k_pool, *address, count=live))
                if totals:
                    parts = [let(a + b) for a, b in zip(totals, parts, strict=True)]
                totals = parts
        return [let(vector.total(lanes)) for lanes in totals]

    def _unpacked(self, packs: Expr) -> list[Expr]:
        """The floats in 16 packs of 32 bits."""
        return [let(packs)] if self.spec.element is Element.F32 else list(split_pairs(packs))


FAMILY = CpuFamily(
    name="compress_keys",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    emit=emit,
)
