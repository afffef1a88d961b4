"""The heads of one token that share keys and values, and the memory of a worker for them."""

from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import PartialRow
from sala_compile.codegen.kernels.attend_pools.cpu.schedule import Schedule
from sala_compile.codegen.kernels.attend_pools.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensors,
    held,
    lanes,
    let,
    long,
    loop,
    scalar,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class PoolTile:
    """Some entries of the list of a token: the first, how many, and how many tokens they have."""

    first: Expr
    live: Expr
    readable: Expr


@dataclass(frozen=True, slots=True)
class PoolRows:
    """The query heads of the kv head `head` of a token: its list has `chosen` pools.

    One more entry is the pool that is not complete, if it has tokens. In the memory of a worker,
    with R rows and S scores to a row of a tile: scores [R, S], records of the segment [R] and of
    all segments so far [R], factors [R, 16]; queries [R, D padded] and probabilities [R, S] as
    elements; page and place in it of every entry of a tile.
    """

    spec: Spec
    schedule: Schedule
    tensors: Tensors
    worker: Expr
    token: Expr
    head: Expr
    table_row: Expr
    complete: Expr
    chosen: Expr
    entries: Expr
    tokens: Expr

    @classmethod
    def of(
        cls, spec: Spec, schedule: Schedule, tensors: Tensors, worker: Expr, index: Expr
    ) -> "PoolRows":
        """The rows of kv head `index` of all tokens, token by token."""
        token = held(index // spec.kv_heads)
        position = held(tensors.token_position[token])
        chosen = scalar(T.int32(0), "int32")
        with loop(spec.count) as column, when(tensors.selection[token, column] >= 0):
            chosen[0] = chosen[0] + 1
        rest = held((position + 1) % spec.pool)
        return cls(
            spec,
            schedule,
            tensors,
            worker,
            token,
            held(index % spec.kv_heads),
            held(tensors.slots[tensors.token_sequence[token]]),
            held((position + 1) // spec.pool),
            chosen[0],
            held(chosen[0] + T.min(rest, T.int32(1))),
            held(chosen[0] * spec.pool + rest),
        )

    def tile(self, index: Expr) -> PoolTile:
        """Tile `index` of the list; emits where its entries are."""
        spec, most = self.spec, self.schedule.entries(self.spec)
        first = held(index * most)
        live = held(T.min(self.entries - first, T.int32(most)))
        readable = held(T.min(self.tokens - first * spec.pool, T.int32(most * spec.pool)))
        places, worker = self.tensors.places, self.worker
        with loop(live) as entry:
            listed = self.tensors.selection[
                self.token, T.min(first + entry, T.int32(spec.count - 1))
            ]
            # Whatever is listed, nothing but complete pools of the sequence is read.
            inside = T.max(T.min(listed, self.complete - 1), T.int32(0))
            pool = held(T.if_then_else(first + entry < self.chosen, inside, self.complete))
            start = held(pool * spec.pool)
            place = let(entry * 2)
            page = self.tensors.page_table[self.table_row, start // spec.page_tokens]
            places[worker, place] = page
            places[worker, place + 1] = start % spec.page_tokens
        return PoolTile(first, live, readable)

    def place(self, entry: Expr) -> tuple[Expr, Expr]:
        """Page (int64) and first place in it of an entry of the tile."""
        places = self.tensors.places
        page = held(long(places[self.worker, entry * 2]), "int64")
        return page, held(places[self.worker, entry * 2 + 1])

    @property
    def product(self) -> Product:
        return self.schedule.product(self.spec)

    @property
    def width(self) -> int:
        return self.schedule.width(self.spec)

    @property
    def columns(self) -> int:
        """Columns of an output in memory."""
        return padded(self.spec.head_dim)

    def floats(self, place: Expr) -> Expr:
        return self.tensors.scores[self.worker, lanes(place)]

    def keep(self, place: Expr, value: Expr) -> None:
        self.tensors.scores[self.worker, lanes(place)] = value

    def scores(self, row: Expr) -> Expr:
        """Where the scores of a row begin."""
        return row * self.width

    def current(self, row: Expr) -> PartialRow:
        """The record of a row for the segment that is read."""
        return self._record(0, row)

    def joined(self, row: Expr) -> PartialRow:
        """The record of a row for all segments so far."""
        return self._record(1, row)

    def factor(self, row: Expr) -> Expr:
        """Where the factor of the output of a row is."""
        start = self.spec.group * (self.width + 2 * self.schedule.record(self.spec))
        return start + row * LANES

    def query(self, row: Expr) -> Expr:
        """Where the query of a row begins among the operands."""
        return row * self.columns

    def probabilities(self, row: Expr) -> Expr:
        """Where the probabilities of a row begin among the operands."""
        return self.spec.group * self.columns + row * self.width

    def _record(self, index: int, row: Expr) -> PartialRow:
        size, group = self.schedule.record(self.spec), self.spec.group
        start = group * (self.width + index * size) + row * size
        return PartialRow(self.tensors.scores, (self.worker,), start, self.columns)
