"""append_kv on the CPU: groups of tokens, one (token, kv head) after the other."""

from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.kernels.operands import (
    column_views,
    element,
    indices_of,
    refuse_unless_float32,
    spec_values,
    symbol_of,
)
from sala_compile.codegen.kernels.page_rows import CacheShape, page_of, write_key
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    choose,
    kernel,
    lanes,
    let,
    loop,
    scratch,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.passes.support.kernel_choice import KernelChoice
from sala_compile.sala_ir.dialect.heads import kv_type
from sala_compile.sala_ir.dialect.stages import AppendKvOp

BITS = "uint32x16"


@dataclass(frozen=True, slots=True)
class Spec:
    """Sizes of the cache, and where k and v stand: columns from `*_start` of rows of `*_pitch`."""

    kv_heads: int
    block_size: int
    head_dim: int
    element: Element
    k_start: int
    k_pitch: int
    v_start: int
    v_pitch: int

    def __post_init__(self) -> None:
        """Accept the element type by its name."""
        object.__setattr__(self, "element", Element(self.element))

    @property
    def symbol(self) -> str:
        """The name of the kernel."""
        sizes = f"{self.element.value}_kv{self.kv_heads}_d{self.head_dim}_b{self.block_size}"
        return symbol_of("append_kv", sizes, self)

    @property
    def cache(self) -> CacheShape:
        """The shape of the pages."""
        return CacheShape(self.kv_heads, self.block_size, self.head_dim, self.element)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a worker takes at a time; a step of no more is not shared."""

    group: int = 16


def rule(op: AppendKvOp, target: Any) -> KernelChoice | str:
    """Take every op with float32 keys and values, for any kind of target."""
    refusal = refuse_unless_float32(k=op.k, v=op.v)
    if refusal:
        return refusal
    cache = kv_type(op.kv)
    kv_heads, block_size, head_dim = cache.sizes
    spec = Spec(kv_heads, block_size, head_dim, element(op.kv), **column_views(k=op.k, v=op.v))
    return KernelChoice(
        symbol=spec.symbol,
        family="append_kv",
        spec=spec_values(spec),
        operands=indices_of(op.operands, op.k, op.v, op.kv),
        arguments=(
            "control",
            "batch:token_sequence",
            "batch:token_position",
            "batch:slots",
            "batch:page_table",
            "in:0",
            "in:1",
            "in:2.k",
            "in:2.v",
        ),
    )


def build(spec: Spec, target: CpuTarget, schedule: Schedule | None = None) -> Any:
    """The PrimFunc (control, token_sequence, token_position, slots, page_table, k, v, pools)."""
    group = (schedule or Schedule()).group
    with kernel(spec.symbol, target) as builder:
        body = _Append.declare(builder, spec)
        tokens = body.control.tokens

        def work(team: Team) -> None:
            def take(turn: Expr) -> None:
                with loop(T.min(tokens - turn * group, T.int32(group))) as index:
                    body.token(let(turn * group + index))

            team.split((tokens + group - 1) // group, take)

        workers(builder, body.control, work, alone=tokens <= group)
    return builder.function


@dataclass(frozen=True, slots=True)
class _Append:
    spec: Spec
    control: Control
    token_sequence: Tensor
    token_position: Tensor
    slots: Tensor
    page_table: Tensor
    k: Tensor
    v: Tensor
    k_pool: Tensor
    v_pool: Tensor

    @classmethod
    def declare(cls, builder: KernelBuilder, spec: Spec) -> "_Append":
        """Declare the parameters."""
        return cls(
            spec=spec,
            control=builder.control(),
            token_sequence=builder.tensor("token_sequence", ("sequence_rows",), "int32"),
            token_position=builder.tensor("token_position", ("position_rows",), "int32"),
            slots=builder.tensor("slots", ("slot_capacity",), "int32"),
            page_table=builder.tensor("page_table", ("table_rows", "table_columns"), "int32"),
            k=builder.tensor("k", ("k_rows", spec.k_pitch), "float32"),
            v=builder.tensor("v", ("v_rows", spec.v_pitch), "float32"),
            k_pool=spec.cache.declare_keys(builder),
            v_pool=spec.cache.declare_values(builder),
        )

    def token(self, token: Expr) -> None:
        """Emit the writes of one token."""
        spec = self.spec
        sequence = let(self.token_sequence[token])
        position = let(self.token_position[token])
        row = let(self.slots[sequence])
        page = page_of(self.page_table, row, position // spec.block_size)
        slot = let(position % spec.block_size)
        with loop(spec.kv_heads) as head:
            self._key(token, head, page, slot)
            if spec.element is Element.F32:
                self._value(token, head, page, slot)
            else:
                self._value_pair(token, sequence, head, page, slot)

    def _key(self, token: Expr, head: Expr, page: Expr, slot: Expr) -> None:
        spec = self.spec
        key = scratch((padded(spec.head_dim),))
        for column, live in live_lanes(spec.head_dim):
            place = (token, spec.k_start + head * spec.head_dim + column)
            key[lanes(column)] = Element.F32.load(self.k, *place, count=live)
        write_key(spec.element, self.k_pool, page, head, slot, key)

    def _load_value(self, token: Expr, head: Expr, column: int, live: int) -> Expr:
        start = self.spec.v_start + head * self.spec.head_dim
        return Element.F32.load(self.v, token, start + column, count=live)

    def _value(self, token: Expr, head: Expr, page: Expr, slot: Expr) -> None:
        for column, live in live_lanes(self.spec.head_dim):
            value = self._load_value(token, head, column, live)
            self.v_pool[page, head, slot, column, lanes(0)] = value

    def _value_pair(self, token: Expr, sequence: Expr, head: Expr, page: Expr, slot: Expr) -> None:
        """Emit the write of a bf16 value beside that of the other token of its pair.

        The token in the even slot writes both halves: the other one's value where that token is
        in the same step, else 0. So no two workers write the same pair, and the token in the odd
        slot has work only where its partner came in an earlier step.
        """
        last = let(self.control.tokens - 1)
        following = let(T.min(token + 1, last))
        preceding = let(T.max(token - 1, T.int32(0)))
        paired = T.And(token < last, self.token_sequence[following] == sequence)
        paired = let(T.And(paired, slot + 1 < self.spec.block_size))
        begins = let(T.Or(token == 0, self.token_sequence[preceding] != sequence))

        def even() -> None:
            for column, live in live_lanes(self.spec.head_dim):
                own = self._half(token, head, column, live)

                def pair(own: Expr = own, column: int = column, live: int = live) -> None:
                    other = self._half(following, head, column, live)
                    self._set_pair(page, head, slot, column, own | _upper(other))

                def single(own: Expr = own, column: int = column) -> None:
                    self._set_pair(page, head, slot, column, own)

                choose(paired, pair, single)

        def odd() -> None:
            with when(begins):
                for column, live in live_lanes(self.spec.head_dim):
                    own = self._half(token, head, column, live)
                    stored = self.v_pool[page, head, slot // 2, column, lanes(0, 32)]
                    lower = T.reinterpret(stored, dtype=BITS) & splat(T.uint32(0xFFFF))
                    self._set_pair(page, head, slot, column, lower | _upper(own))

        choose(slot % 2 == 0, even, odd)

    def _half(self, token: Expr, head: Expr, column: int, live: int) -> Expr:
        """16 values as bf16 in the lower halves of 32 bits."""
        value = self._load_value(token, head, column, live)
        return let(T.Cast(BITS, vector.to_bf16(value)))

    def _set_pair(self, page: Expr, head: Expr, slot: Expr, column: int, pairs: Expr) -> None:
        place = (page, head, slot // 2, column, lanes(0, 32))
        self.v_pool[place] = T.reinterpret(pairs, dtype="uint16x32")


def _upper(bits: Expr) -> Expr:
    return T.shift_left(bits, splat(T.uint32(16)))
