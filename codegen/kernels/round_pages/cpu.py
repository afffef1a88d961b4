"""round_pages on the CPU: one (page, kv head) of a sequence at a time."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.arguments import Arguments, workspace
from sala_compile.codegen.kernels.round_pages import spec as pages
from sala_compile.codegen.kernels.round_pages.spec import Spec, describe
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    KernelBuilder,
    Registers,
    Tensors,
    held,
    lanes,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.family import CpuFamily
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of
from sala_compile.codegen.kernels.tir.recent_rows import RecentRows, rounded
from sala_compile.codegen.kernels.tir.team import Team, workers
from sala_compile.sala_ir.attention_sizes import LEAST_SCALE, scale_factor
from sala_compile.sala_ir.dialect.types import WORD_BITS

LEAST = -3.4028234663852886e38
"""Below every number."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A step of no more tokens than `alone` is not shared among the workers."""

    alone: int = 16


def arguments(spec: Spec, schedule: Schedule) -> Arguments:
    """The arguments of a call, with the floats of a page of a head and its integers."""
    size = spec.page_tokens * spec.head_dim
    spaces = workspace("floats", "f32", size), workspace("integers", "i32", size)
    return pages.arguments(spec, spaces)


def emit(builder: KernelBuilder, spec: Spec, schedule: Schedule) -> None:
    """Emit the pages of all sequences."""
    control, tensors, size = builder.tensors.control, builder.tensors, spec.page_tokens

    def work(team: Team) -> None:
        with loop(control.sequences) as sequence:
            history = held(tensors.history[sequence])
            new = held(tensors.offsets[sequence + 1] - tensors.offsets[sequence])
            first = held(history // size)
            items = held(((history + new) // size - first) * spec.kv_heads)

            def page(item: Expr) -> None:
                place = let(first + item // spec.kv_heads)
                _Page(spec, tensors, team.worker, sequence, place, item % spec.kv_heads).emit()

            team.static(items, page)

    workers(builder, control, work, alone=control.tokens <= schedule.alone)


@dataclass(frozen=True, slots=True)
class _Page:
    """The page `index` of a sequence, for one head; of its keys, then of its values."""

    spec: Spec
    tensors: Tensors
    worker: Expr
    sequence: Expr
    index: Expr
    head: Expr

    def emit(self) -> None:
        spec, tensors = self.spec, self.tensors
        page = page_of(tensors.page_table, let(tensors.slots[self.sequence]), self.index)
        self._gather(tensors.recent_k, tensors.k, spec.k_start)
        self._round_keys(page)
        self._gather(tensors.recent_v, tensors.v, spec.v_start)
        self._round_values(page)

    def _gather(self, recent: Expr, new: Expr, column: int) -> None:
        """Emit the unrounded rows of the page into the workspace."""
        spec, tensors = self.spec, self.tensors
        rows = RecentRows(
            spec.element,
            spec.head_dim,
            spec.recent,
            recent,
            new,
            slot=let(tensors.slots[self.sequence]),
            head=let(self.head),
            column=column,
            start=let(tensors.offsets[self.sequence]),
            history=let(tensors.history[self.sequence]),
        )
        begin = held(self.index * spec.page_tokens)

        def keep(token: Expr, load: Callable[[int, int], Expr]) -> None:
            for column in range(0, spec.head_dim, LANES):
                place = self._place(token - begin, column)
                tensors.floats[self.worker, lanes(place)] = load(column, LANES)

        rows.each(begin, begin + spec.page_tokens, keep)

    def _round_keys(self, page: Expr) -> None:
        spec, tensors = self.spec, self.tensors
        bits, tokens = spec.key_bits, spec.page_tokens
        with loop(spec.head_dim // LANES) as turn:
            column = let(turn * LANES)
            extremes = _extremes()
            with loop(tokens) as token:
                extremes.add(self._floats(token, column))
            scale, least = self._rule(extremes.least, extremes.most, bits)
            spec.element.store(tensors.k_scale, page, self.head, column, value=scale)
            spec.element.store(tensors.k_minimum, page, self.head, column, value=least)
            with loop(tokens) as token:
                self._put(token, column, scale, least)
        count = WORD_BITS // bits
        with loop(spec.head_dim // count) as word, loop(tokens) as token:
            place = let(self._place(token, word * count))
            parts = [tensors.integers[self.worker, place + index] for index in range(count)]
            tensors.k_words[page, self.head, word, token] = _joined(parts, bits, T.int32)

    def _round_values(self, page: Expr) -> None:
        spec, tensors = self.spec, self.tensors
        bits = spec.value_bits
        with loop(spec.page_tokens) as token:
            extremes = _extremes()
            for column in range(0, spec.head_dim, LANES):
                extremes.add(self._floats(token, column))
            scale, least = self._rule(*extremes.folded(), bits)
            place = (page, self.head, token)
            spec.element.store(tensors.v_scale, *place, value=scale, count=1)
            spec.element.store(tensors.v_minimum, *place, value=least, count=1)
            for column in range(0, spec.head_dim, LANES):
                self._put(token, column, scale, least)
        count = WORD_BITS // bits
        with loop(spec.page_tokens // count) as word:
            for column in range(0, spec.head_dim, LANES):
                parts = [
                    tensors.integers[self.worker, lanes(self._place(word * count + index, column))]
                    for index in range(count)
                ]
                words = _joined(parts, bits, lambda n: T.broadcast(T.int32(n), LANES))
                tensors.v_words[page, self.head, word, lanes(column)] = words

    def _rule(self, least: Expr, most: Expr, bits: int) -> tuple[Expr, Expr]:
        """Scale and minimum of numbers between two, as they are stored."""
        element = self.spec.element
        low = let(rounded(element, least))
        wanted = (most - low) * splat(scale_factor((1 << bits) - 1))
        return let(rounded(element, vector.maximum(wanted, splat(LEAST_SCALE)))), low

    def _place(self, token: Expr, column: Expr) -> Expr:
        return token * self.spec.head_dim + column

    def _floats(self, token: Expr, column: Expr) -> Expr:
        return self.tensors.floats[self.worker, lanes(self._place(token, column))]

    def _put(self, token: Expr, column: Expr, scale: Expr, least: Expr) -> None:
        above = let(self._floats(token, column) - least)
        nearest = vector.nearest_integers(above / scale, splat(1.0))
        self.tensors.integers[self.worker, lanes(self._place(token, column))] = nearest


@dataclass(frozen=True, slots=True)
class _Extremes:
    """The smallest and the largest numbers, lane by lane; the smallest negated."""

    cells: Registers

    def add(self, value: Expr) -> None:
        """Emit the comparison with 16 numbers more."""
        known = let(value)
        self.cells[0] = vector.maximum(self.cells[0], splat(0.0) - known)
        self.cells[1] = vector.maximum(self.cells[1], known)

    @property
    def least(self) -> Expr:
        """The smallest numbers."""
        return splat(0.0) - self.cells[0]

    @property
    def most(self) -> Expr:
        """The largest numbers."""
        return self.cells[1]

    def folded(self) -> tuple[Expr, Expr]:
        """The smallest and the largest number of all lanes, in each of them."""
        low, high = (let(splat(vector.largest(self.cells[n]))) for n in (0, 1))
        return splat(0.0) - low, high


def _extremes() -> _Extremes:
    return _Extremes(registers(2).fill(2, LEAST))


def _joined(parts: list[Expr], bits: int, constant: Callable[[int], Expr]) -> Expr:
    """The words of integers, the first one in the lowest bits."""
    mask = constant((1 << bits) - 1)
    words = [T.shift_left(part & mask, constant(bits * n)) for n, part in enumerate(parts)]
    found = words[0]
    for word in words[1:]:
        found = found | word
    return found


FAMILY = CpuFamily(
    name="round_pages",
    spec=Spec,
    describe=describe,
    arguments=arguments,
    schedule=Schedule,
    emit=emit,
)
