"""The statements of attention to latents; README.md has the mathematics."""

import math
from dataclasses import dataclass
from typing import Self

from sala_compile.codegen.kernels.attend_latents.cpu.past_rows import SelectedTokens, TokenTile
from sala_compile.codegen.kernels.attend_latents.cpu.products import (
    add_values,
    finish,
    score,
    scored,
)
from sala_compile.codegen.kernels.attend_latents.cpu.query_rows import LatentQueries, Record
from sala_compile.codegen.kernels.attend_latents.cpu.running_softmax import (
    clear,
    copy,
    join,
    softmax,
)
from sala_compile.codegen.kernels.attend_latents.cpu.schedule import (
    MOST_SEGMENTS,
    PARTIAL_RECORDS,
    Schedule,
)
from sala_compile.codegen.kernels.attend_latents.spec import Spec
from sala_compile.codegen.kernels.tir.builder import (
    Expr,
    choose,
    held,
    loop,
    scalar,
    scratch,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.sequence_tiles import (
    SequenceTiles,
    segments,
    segments_at_most,
)


@dataclass(frozen=True, slots=True)
class LatentTiles(SequenceTiles):
    """Tiles of the queries of a step, all of one width."""

    spec: Spec
    schedule: Schedule

    def width(self, first: Expr) -> Expr:
        """Tokens of a whole tile."""
        return T.int32(self.schedule.queries(self.spec))


@dataclass(frozen=True, slots=True)
class AttendTiles:
    """Emits the attention of a step: items of work, then, of a split step, tiles to put together.

    An item is a tile of queries; where there are fewer than four for every worker and their parts
    have room, it is a segment of the past of one.
    """

    tiles: LatentTiles
    number: Expr
    parts: Expr
    is_split: Expr

    @classmethod
    def of(cls, tiles: LatentTiles) -> Self:
        """Emit the counting."""
        spec, control = tiles.spec, tiles.tensors.control
        total, most = (scalar(T.int32(n), "int32") for n in (0, 1))
        with loop(control.sequences) as sequence:
            first, position, tokens = tiles.extent(sequence)
            total[0] = total[0] + tiles.number(position, tokens, tiles.width(first))
            last = position + tokens - 1
            if spec.is_selected:
                last = T.min(last, T.int32(spec.count * spec.pool + spec.pool - 1))
            entries = last // spec.block_size + 1
            parts = segments_at_most(entries, tiles.schedule.segment(spec), MOST_SEGMENTS)
            most[0] = T.max(most[0], parts)
        several = T.And(control.workers > 1, most[0] > 1)
        few = T.And(several, total[0] < 4 * control.workers)
        fits = total[0] * most[0] <= control.workers * PARTIAL_RECORDS
        split = scalar(T.Cast("int32", T.And(few, fits)), "int32")
        shared = held(T.if_then_else(split[0] != 0, most[0], T.int32(1)))
        return cls(tiles, total[0], shared, split[0] != 0)

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the work on a tile of queries: all of its segments, or one."""
        part, rank = held(item % self.parts), held(item // self.parts)
        work = self._rows(worker, rank)
        size, count = self._segments(work)
        first = held(T.if_then_else(self.is_split, part, T.int32(0)))
        last = held(T.if_then_else(self.is_split, T.min(part + 1, count), count))
        with when(first < last):
            work.load_queries()
        with when(T.Not(self.is_split)):
            clear(work, work.joined)
        with loop(T.max(last - first, 0)) as turn:
            begin = held((first + turn) * size)
            clear(work, work.current)
            _read(work, begin, held(T.min(begin + size, work.entries)))
            choose(
                self.is_split,
                lambda: copy(work, work.current, self._partial(work, rank, part)),
                lambda: join(work, work.joined, work.current),
            )
        with when(T.Not(self.is_split)):
            finish(work)

    def tile(self, worker: Expr, rank: Expr) -> None:
        """Emit the result of a tile from the partial results of its segments."""
        work = self._rows(worker, rank)
        _, count = self._segments(work)
        clear(work, work.joined)
        with loop(count) as part:
            join(work, work.joined, self._partial(work, rank, part))
        finish(work)

    def _segments(self, work: LatentQueries) -> tuple[Expr, Expr]:
        return segments(work.entries, work.schedule.segment(work.spec), MOST_SEGMENTS)

    def _rows(self, worker: Expr, rank: Expr) -> LatentQueries:
        tiles, tensors = self.tiles, self.tiles.tensors
        token, count = tiles.find(rank)
        position, past = held(tensors.token_position[token]), None
        if tiles.spec.is_selected:
            own = (tiles.spec, tiles.schedule, tensors, worker)
            past = SelectedTokens(*own, token, position)
            position = held(past.length - 1)
        return LatentQueries(
            tiles.spec,
            tiles.schedule,
            tensors,
            worker,
            token,
            count,
            position,
            table_row=held(tensors.slots[tensors.token_sequence[token]]),
            entries=held((position + count - 1) // tiles.spec.block_size + 1),
            past=past,
        )

    def _partial(self, work: LatentQueries, rank: Expr, part: Expr) -> Record:
        """Where the record of a tile for one of its segments is."""
        place = held(rank * self.parts + part)
        start = held(place % PARTIAL_RECORDS * work.schedule.record(work.spec))
        outer = (held(place // PARTIAL_RECORDS),)
        columns = work.schedule.out_columns(work.spec)
        return Record(work.tensors.partials, outer, start, work.all_rows, columns)


def _read(work: LatentQueries, begin: Expr, end: Expr) -> None:
    """Emit the work on the blocks of a segment, a tile of scores after the other."""
    spec, most = work.spec, work.schedule.blocks(work.spec)
    pages = None if spec.is_selected else scratch((most,), "int64")
    with loop((end - begin + (most - 1)) // most) as turn:
        first = held(begin + turn * most)
        live = held(T.min(end - first, T.int32(most)))
        tokens = TokenTile(spec, first, live, work.last, work.past, pages)
        tokens.find(work.tensors.page_table, work.table_row)
        score(work, tokens, spec.scale / math.log(2))
        softmax(work, held(scored(work, tokens)))
        add_values(work, tokens)
