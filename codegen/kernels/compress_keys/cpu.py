"""compress_keys on the CPU: one (window, kv head) at a time, straight from the pages of keys."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import element, indices_of, spec_values, symbol_of
from sala_compile.codegen.kernels.page_rows import (
    CacheShape,
    CompressedLevel,
    compressed_levels,
    page_of,
    write_key,
)
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    kernel,
    let,
    loop,
    scratch,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import split_pairs
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.heads import compressed_type, kv_type
from sala_compile.sala_ir.dialect.stages import CompressKeysOp


@dataclass(frozen=True, slots=True)
class Spec:
    """Sizes of the cache and of the windows; a window is two strides long."""

    kv_heads: int
    block_size: int
    head_dim: int
    kernel_stride: int
    element: Element
    compressed_element: Element

    def __post_init__(self) -> None:
        """Accept element types by their names."""
        for name in ("element", "compressed_element"):
            object.__setattr__(self, name, Element(getattr(self, name)))

    @property
    def symbol(self) -> str:
        """The name of the kernel."""
        sizes = f"{self.element.value}_kv{self.kv_heads}_d{self.head_dim}_s{self.kernel_stride}"
        return symbol_of("compress_keys", sizes, self)

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages of keys."""
        return CacheShape(self.kv_heads, self.block_size, self.head_dim, self.element)

    @property
    def levels(self) -> tuple[CompressedLevel, ...]:
        """The fine and the coarse level."""
        return compressed_levels(self.block_size, self.kernel_stride)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A step of no more tokens than `alone` is not shared among the workers."""

    alone: int = 16


def spec_of(op: CompressKeysOp) -> Spec:
    """The sizes of an op."""
    cache, keys = kv_type(op.kv), compressed_type(op.ck)
    kv_heads, block_size, head_dim = cache.sizes
    stride = keys.kernel_stride.data
    return Spec(kv_heads, block_size, head_dim, stride, element(op.kv), element(op.ck))


def rule(op: CompressKeysOp, target: CpuTarget) -> KernelChoice | str:
    """Take every op: the types guarantee windows of two strides that fill blocks evenly."""
    spec = spec_of(op)
    return KernelChoice(
        symbol=spec.symbol,
        family="compress_keys",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.kv, op.ck),
        arguments=(
            "control",
            "batch:offsets",
            "batch:history",
            "batch:slots",
            "batch:page_table",
            "batch:compressed_table",
            "in:0.k",
            "in:1.fine",
            "in:1.coarse",
        ),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """The PrimFunc (control, offsets, history, slots, both page tables, keys, fine, coarse)."""
    schedule = schedule or Schedule()
    with kernel(spec.symbol, target) as builder:
        body = _Compress.declare(builder, spec)

        def work(team: Team) -> None:
            with loop(body.control.sequences) as sequence:
                body.sequence(sequence, team)

        workers(builder, body.control, work, alone=body.control.tokens <= schedule.alone)
    return builder.function


@dataclass(frozen=True, slots=True)
class _Compress:
    spec: Spec
    control: Control
    offsets: Tensor
    history: Tensor
    slots: Tensor
    page_table: Tensor
    compressed_table: Tensor
    keys: Tensor
    pools: tuple[Tensor, ...]

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec) -> "_Compress":
        """Declare the parameters."""
        sizes = {"kv_heads": spec.kv_heads, "head_dim": spec.head_dim}
        return cls(
            spec=spec,
            control=builder.control(),
            offsets=builder.tensor("offsets", ("offset_capacity",), "int32"),
            history=builder.tensor("history", ("history_capacity",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            page_table=builder.tensor("page_table", ("table_rows", "table_columns"), "int32"),
            compressed_table=builder.tensor(
                "compressed_table", ("compressed_rows", "compressed_columns"), "int32"
            ),
            keys=spec.cache.declare_keys(builder),
            pools=tuple(
                level.declare(builder, **sizes, element=spec.compressed_element)
                for level in spec.levels
            ),
        )

    def sequence(self, sequence: Expr, team: Team) -> None:
        """Emit this worker's share of the windows that end among the sequence's new tokens."""
        history = let(self.history[sequence])
        new = let(self.offsets[sequence + 1] - self.offsets[sequence])
        row = let(self.slots[sequence])
        for level, pool in zip(self.spec.levels, self.pools, strict=True):
            first = let(level.complete(history))
            items = let((level.complete(history + new) - first) * self.spec.kv_heads)

            def window(
                item: Expr, level: CompressedLevel = level, pool: Tensor = pool, first: Expr = first
            ) -> None:
                index = let(first + item // self.spec.kv_heads)
                self._window(level, pool, row, index, let(item % self.spec.kv_heads))

            team.split(items, window)

    def _window(
        self, level: CompressedLevel, pool: Tensor, row: Expr, index: Expr, head: Expr
    ) -> None:
        spec = self.spec
        mean = scratch((padded(spec.head_dim),))
        starts = []
        for part in range(level.size // spec.kernel_stride):
            token = let(index * level.stride + part * spec.kernel_stride)
            page = page_of(self.page_table, row, token // spec.block_size)
            starts.append((page, let(token % spec.block_size)))
        with loop(spec.head_dim // spec.element.pack) as pair:
            sums = self._sums(head, pair, starts)
            for offset, value in enumerate(sums):
                mean[pair * len(sums) + offset] = value * T.float32(1.0 / level.size)
        slot = let(index + 1)
        page = page_of(self.compressed_table, row, slot // level.slots)
        write_key(spec.compressed_element, pool, page, head, let(slot % level.slots), mean)

    def _sums(self, head: Expr, pair: Expr, starts: list[tuple[Expr, Expr]]) -> list[Expr]:
        """The sums over a window of one dimension (f32) or of two (bf16).

        Lane i adds the tokens i, i + stride, ... in this order; then the lanes are folded.
        """
        totals: list[Expr] = []
        for page, slot in starts:
            for column, live in live_lanes(self.spec.kernel_stride):
                address = (page, head, pair, slot + column, 0)
                parts = self._unpacked(vector.load(self.keys, *address, count=live))
                if totals:
                    parts = [let(a + b) for a, b in zip(totals, parts, strict=True)]
                totals = parts
        return [let(vector.total(lanes)) for lanes in totals]

    def _unpacked(self, packs: Expr) -> list[Expr]:
        """The floats in 16 packs of 32 bits."""
        return [let(packs)] if self.spec.element is Element.F32 else list(split_pairs(packs))
