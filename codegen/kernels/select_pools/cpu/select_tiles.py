"""The statements of the choice of pools; README.md has the mathematics."""

from dataclasses import dataclass
from typing import Self

from sala_compile.codegen.kernels.select_pools.cpu.candidates import Candidates, candidates_of
from sala_compile.codegen.kernels.select_pools.cpu.schedule import (
    LEAST_PART,
    PART_RECORDS,
    TILES_PER_WORKER,
    Schedule,
)
from sala_compile.codegen.kernels.select_pools.cpu.score_pools import IndexerQueries, masked
from sala_compile.codegen.kernels.select_pools.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    choose,
    held,
    let,
    loop,
    scalar,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of
from sala_compile.codegen.kernels.tir.sequence_tiles import SequenceTiles


@dataclass(frozen=True, slots=True)
class PoolTiles(SequenceTiles):
    """Tiles of the queries of a step: single ones where their pasts are divided."""

    spec: Spec
    schedule: Schedule
    is_split: Expr

    def width(self, first: Expr) -> Expr:
        """Tokens of a whole tile."""
        most = T.int32(self.schedule.queries(self.spec))
        return T.if_then_else(self.is_split, T.int32(1), most)


@dataclass(frozen=True, slots=True)
class SelectTiles:
    """Emits the choices of a step: items of work, then, of a split step, choices among parts.

    An item is a tile of queries; where there are few, it is a part of the past of one. The best of
    all are among the best of the parts, so that how a past is divided changes no choice.
    """

    tiles: PoolTiles
    number: Expr
    parts: Expr
    most: Expr

    @classmethod
    def of(cls, spec: Spec, schedule: Schedule, tensors: Expr) -> Self:
        """Emit the counting."""
        control = tensors.control
        most = scalar(T.int32(0), "int32")
        with loop(control.tokens) as token:
            most[0] = T.max(most[0], (tensors.token_position[token] + 1) // spec.pool)
        room = held(control.workers * PART_RECORDS // T.max(control.tokens, 1))
        wanted = (most[0] + (LEAST_PART - 1)) // LEAST_PART
        parts = held(T.max(T.min(wanted, room), 1))
        few = T.And(control.workers > 1, control.tokens < TILES_PER_WORKER * control.workers)
        split = scalar(T.Cast("int32", T.And(few, parts > 1)), "int32")
        tiles = PoolTiles(tensors, spec, schedule, split[0] != 0)
        total = scalar(T.int32(0), "int32")
        with loop(control.sequences) as sequence:
            first, position, tokens = tiles.extent(sequence)
            total[0] = total[0] + tiles.number(position, tokens, tiles.width(first))
        shared = held(T.if_then_else(split[0] != 0, parts, T.int32(1)))
        return cls(tiles, total[0], shared, most[0])

    @property
    def is_split(self) -> Expr:
        """Whether items are parts of pasts."""
        return self.tiles.is_split

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the work on a tile of queries: all of their past, or a part of that of one."""
        part, rank = held(item % self.parts), held(item // self.parts)
        work = self._work(worker, rank)

        def own_part() -> None:
            size = held((work.complete(0) + (self.parts - 1)) // self.parts)
            # Parts begin with pages.
            size = held((size + (work.entries - 1)) // work.entries * work.entries)
            work.read(held(part * size), held((part + 1) * size))
            work.candidates.choose(0)
            work.candidates.keep(0, *self._record(rank, part))

        def everything() -> None:
            work.read(T.int32(0), work.complete(work.rows.count - 1))
            with loop(work.rows.count) as query:
                work.list(query)

        choose(self.is_split, own_part, everything)

    def tile(self, worker: Expr, rank: Expr) -> None:
        """Emit the choice of a query among those of its parts."""
        work = self._work(worker, rank)
        work.candidates.clear(0)
        with when(work.is_scored(0)), loop(self.parts) as part:
            work.candidates.add_record(0, *self._record(rank, part))
        work.list(0)

    def _record(self, rank: Expr, part: Expr) -> tuple[Expr, Expr]:
        """Row and place of the record of a part of the past of a query."""
        place = held(rank * self.parts + part)
        size = self.tiles.schedule.record(self.tiles.spec)
        return held(place // PART_RECORDS), held(place % PART_RECORDS * size)

    def _work(self, worker: Expr, rank: Expr) -> "TileWork":
        tiles = self.tiles
        token, count = tiles.find(rank)
        own = (tiles.spec, tiles.schedule, tiles.tensors, worker)
        table_row = held(tiles.tensors.slots[tiles.tensors.token_sequence[token]])
        position = held(tiles.tensors.token_position[token])
        return TileWork(
            IndexerQueries(*own, token, count), candidates_of(*own), position, table_row
        )


@dataclass(frozen=True, slots=True)
class TileWork:
    """The choice of the queries of a tile, the first at `position`."""

    rows: IndexerQueries
    candidates: Candidates
    position: Expr
    table_row: Expr

    @property
    def entries(self) -> int:
        """Keys of a page."""
        return self.rows.spec.entries

    def complete(self, query: Expr) -> Expr:
        """Complete pools of a query."""
        return held((self.position + query + 1) // self.rows.spec.pool)

    def is_scored(self, query: Expr) -> Expr:
        """Whether a query has more pools than it may choose."""
        return self.complete(query) > self.rows.spec.count

    def list(self, query: Expr) -> None:
        """Emit the row of the selection of a query: the best, or all where they are few."""
        token = held(self.rows.token + query)

        def best() -> None:
            self.candidates.choose(query)
            self.candidates.list(query, token)

        def all_pools() -> None:
            number = self.complete(query)
            with loop(self.rows.spec.count) as entry:
                value = T.if_then_else(entry < number, entry, T.int32(-1))
                self.rows.tensors.selection[token, entry] = value

        choose(self.is_scored(query), best, all_pools)

    def read(self, begin: Expr, end: Expr) -> None:
        """Emit the candidates of all queries among the pools from `begin`, a page's first, on."""
        spec, count = self.rows.spec, self.rows.count
        size = self.rows.schedule.pages(spec) * spec.entries
        with loop(count) as query:
            self.candidates.clear(query)
        with when(self.is_scored(count - 1)):
            self.rows.load()
            length = held(T.min(end, self.complete(count - 1)) - begin)
            with loop(T.max(length + (size - 1), 0) // size) as turn:
                first = held(begin + turn * size)
                with loop(count) as query:
                    last = held(T.min(T.min(first + size, end), self.complete(query)))
                    with when(T.And(self.is_scored(query), first < last)):
                        self.candidates.make_room(query, last - first)
                        self._read_segment(query, first, last)

    def _read_segment(self, query: Expr, first: Expr, last: Expr) -> None:
        """Emit the candidates of a query among pools that begin with a page."""
        table = self.rows.tensors.page_table
        with loop((last - first + (self.entries - 1)) // self.entries) as turn:
            index = held(first // self.entries + turn)
            begin = held(index * self.entries)
            live = held(T.min(last - begin, T.int32(self.entries)))
            page = page_of(table, self.table_row, index)
            ahead = page_of(table, self.table_row, T.min(index + 1, (last - 1) // self.entries))

            def add(entry: Expr, ranks: Expr) -> None:
                pool = let(begin + entry)
                self.candidates.add(query, masked(ranks, live - entry), pool)

            vectors = (live + (LANES - 1)) // LANES
            self.rows.score(query, page, ahead, vectors, add)
