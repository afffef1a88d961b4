"""append_kv on the CPU: groups of tokens, one (token, kv head) after the other."""

from dataclasses import dataclass
from functools import partial

from sala_compile.codegen.kernels.append_kv.spec import Spec, arguments, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    KernelBuilder,
    Tensors,
    choose,
    lanes,
    let,
    loop,
    scratch,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of, write_key
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

BITS = "uint32x16"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tokens that a worker takes at a time; a step of no more is not shared."""

    group: int = 16


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the writes of all new tokens."""
    body, group = _Append(spec, builder.tensors), schedule.group
    control = builder.tensors.control

    def work(team: Team) -> None:
        def take(turn: Expr) -> None:
            with loop(T.min(control.tokens - turn * group, T.int32(group))) as index:
                body.token(let(turn * group + index))

        team.static((control.tokens + group - 1) // group, take)

    workers(builder, control, work, alone=control.tokens <= group)


@dataclass(frozen=True, slots=True)
class _Append:
    spec: Spec
    tensors: Tensors

    def token(self, token: Expr) -> None:
        """Emit the writes of one token."""
        spec = self.spec
        sequence = let(self.tensors.token_sequence[token])
        position = let(self.tensors.token_position[token])
        row = let(self.tensors.slots[sequence])
        page = page_of(self.tensors.page_table, row, position // spec.block_size)
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
            key[lanes(column)] = Element.F32.load(self.tensors.k, *place, count=live)
        write_key(spec.element, self.tensors.k_pool, (page, head), slot, key)

    def _load_value(self, token: Expr, head: Expr, column: int, live: int) -> Expr:
        start = self.spec.v_start + head * self.spec.head_dim
        return Element.F32.load(self.tensors.v, token, start + column, count=live)

    def _value(self, token: Expr, head: Expr, page: Expr, slot: Expr) -> None:
        for column, live in live_lanes(self.spec.head_dim):
            value = self._load_value(token, head, column, live)
            self.tensors.v_pool[page, head, slot, column, lanes(0)] = value

    def _value_pair(self, token: Expr, sequence: Expr, head: Expr, page: Expr, slot: Expr) -> None:
        """Emit the write of a bf16 value next to that of the other token of its pair.

        The token in the even slot writes both halves: the other one's value if that token is
        in the same step, else 0. So no two workers write the same pair, and the token in the odd
        slot has work only if its partner came in an earlier step.
        """
        last = let(self.tensors.control.tokens - 1)
        following = let(T.min(token + 1, last))
        preceding = let(T.max(token - 1, T.int32(0)))
        paired = T.And(token < last, self.tensors.token_sequence[following] == sequence)
        paired = let(T.And(paired, slot + 1 < self.spec.block_size))
        begins = let(T.Or(token == 0, self.tensors.token_sequence[preceding] != sequence))

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
                    stored = self.tensors.v_pool[page, head, slot // 2, column, lanes(0, 32)]
                    lower = T.reinterpret(stored, dtype=BITS) & splat(T.uint32(0xFFFF))
                    self._set_pair(page, head, slot, column, lower | _upper(own))

        choose(slot % 2 == 0, even, odd)

    def _half(self, token: Expr, head: Expr, column: int, live: int) -> Expr:
        """16 values as bf16 in the lower halves of 32 bits."""
        value = self._load_value(token, head, column, live)
        return let(T.Cast(BITS, vector.to_bf16(value)))

    def _set_pair(self, page: Expr, head: Expr, slot: Expr, column: int, pairs: Expr) -> None:
        place = (page, head, slot // 2, column, lanes(0, 32))
        self.tensors.v_pool[place] = T.reinterpret(pairs, dtype="uint16x32")


def _upper(bits: Expr) -> Expr:
    return T.shift_left(bits, splat(T.uint32(16)))


FAMILY = CpuFamily(
    name="append_kv",
    spec=Spec,
    describe=describe,
    arguments=partial(arguments, packed=True),
    schedule=Schedule,
    emit=emit,
)
