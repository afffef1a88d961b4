"""The statements of the block attention kernel; README.md has the mathematics."""

from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu import block_products, rounded_products
from sala_compile.codegen.kernels.attend_blocks.cpu.block_products import BlockTile
from sala_compile.codegen.kernels.attend_blocks.cpu.page_fetch import keys_of, values_of
from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import PartialRow, QueryRows
from sala_compile.codegen.kernels.attend_blocks.cpu.query_tiles import (
    QueryTiles,
    StepDivision,
)
from sala_compile.codegen.kernels.attend_blocks.cpu.running_softmax import (
    clear,
    finish,
    join,
    keep_visited,
    load_queries,
    softmax,
)
from sala_compile.codegen.kernels.attend_blocks.cpu.schedule import MOST_SEGMENTS, PARTIAL_ROWS
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    choose,
    held,
    let,
    loop,
    scalar,
    scratch,
    when,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.page_access import page_of
from sala_compile.codegen.kernels.tir.sequence_tiles import segments
from sala_compile.codegen.layouts.padding import padded


@dataclass(frozen=True, slots=True)
class Attend:
    """Emits the kernel: items of work, then, of a step that is split, rows to put together."""

    tiles: QueryTiles
    division: StepDivision

    @property
    def items(self) -> Expr:
        """Items of the first turn: (tile, group of kv heads, part)."""
        groups = self.division.groups(self.tiles.spec)
        return let(self.division.tiles * groups * self.division.parts)

    @property
    def rows(self) -> Expr:
        """Items of the second turn: (tile, kv head, row)."""
        return self.division.tiles * self.tiles.spec.kv_heads * self.division.rows

    def item(self, worker: Expr, item: Expr) -> None:
        """Emit the work on some kv heads of a tile of queries: all of its segments, or one."""
        spec, split = self.tiles.spec, self.division
        part, index = held(item % split.parts), held(item // split.parts)
        groups = held(split.groups(spec))
        rank, head = held(index // groups), held(index % groups * split.heads)
        work = self._rows(worker, rank, head)
        heads = held(T.min(spec.kv_heads - head, split.heads))
        size, number = segments(work.entries, self.tiles.schedule.segment(spec), MOST_SEGMENTS)
        first = held(T.if_then_else(split.is_split, part, T.int32(0)))
        last = held(T.if_then_else(split.is_split, T.min(part + 1, number), number))
        with loop(heads) as h:
            one = work.of(h)
            load_queries(one)
            with loop(one.rows) as row:
                clear(one.joined(row))
        with loop(let(T.max(last - first, 0))) as turn:
            begin = held((first + turn) * size)
            _read(work, heads, begin, held(T.min(begin + size, work.entries)))
            with loop(heads) as h, loop(work.rows) as row:
                one, place = work.of(h), let(rank * spec.kv_heads + head + h)
                choose(
                    split.is_split,
                    lambda: _copy(one.current(row), self._partial(place, part, row)),
                    lambda: join(one.joined(row), one.current(row)),
                )
        with when(T.Not(split.is_split)), loop(heads) as h, loop(work.rows) as row:
            one = work.of(h)
            token, query_head = one.place(row)
            finish(spec, work.tensors, one.joined(row), token, query_head)

    def row(self, worker: Expr, item: Expr) -> None:
        """Emit the result of a row from the partial results of its segments."""
        spec, split = self.tiles.spec, self.division
        row, index = held(item % split.rows), held(item // split.rows)
        work = self._rows(worker, held(index // spec.kv_heads), held(index % spec.kv_heads))
        _, number = segments(work.entries, self.tiles.schedule.segment(spec), MOST_SEGMENTS)
        with when(row < work.rows):
            joined = work.joined(0)
            clear(joined)
            with loop(number) as part:
                join(joined, self._partial(index, part, row))
            token, head = work.place(row)
            finish(spec, work.tensors, joined, token, head)

    def _rows(self, worker: Expr, rank: Expr, head: Expr) -> QueryRows:
        tiles, tensors = self.tiles, self.tiles.tensors
        token, count = tiles.find(rank)
        position = held(tensors.token_position[token])
        entries = let((position + count - 1) // tiles.spec.block_size) + 1
        dense: Expr = None
        if (counts := tensors.find("counts")) is not None:
            listed = held(counts[token, head])
            dense = listed < 0
            entries = T.if_then_else(dense, entries, T.min(listed, T.int32(tiles.spec.budget)))
        sequence = let(tensors.token_sequence[token])
        return QueryRows(
            tiles.spec,
            tiles.schedule,
            tensors,
            worker,
            token,
            count,
            head,
            position,
            sequence=sequence,
            table_row=held(tensors.slots[sequence]),
            dense=dense,
            entries=held(entries),
        )

    def _partial(self, index: Expr, part: Expr, row: Expr) -> PartialRow:
        """Where the record of a row of an item for one of its segments is."""
        spec, split = self.tiles.spec, self.division
        place = let((index * split.parts + part) * split.rows + row)
        start = let(place % PARTIAL_ROWS) * self.tiles.schedule.record(spec)
        outer = (let(place // PARTIAL_ROWS),)
        return PartialRow(self.tiles.tensors.partials, outer, start, padded(spec.head_dim))


def _read(work: QueryRows, heads: Expr, begin: Expr, end: Expr) -> None:
    """Emit the work on the entries of a segment, a tile of scores after the other.

    The keys of all heads of a block are read before the next block, and so are the values where
    there are several heads: as they are in memory.
    """
    most = work.schedule.blocks(work.spec)
    products = rounded_products if work.spec.is_rounded else block_products
    pages, firsts = scratch((most,), "int64"), scratch((most,), "int32")
    read = scratch((work.schedule.queries(work.spec),), "int32")
    with loop(work.count) as query:
        read[query] = T.int32(0)
    with loop(heads) as h, loop(work.rows) as row:
        clear(work.of(h).current(row))
    with loop((end - begin + (most - 1)) // most) as turn:
        entry = held(begin + turn * most)
        blocks = BlockTile(held(T.min(end - entry, T.int32(most))), pages, firsts)
        with loop(blocks.live) as b:
            pages[b], firsts[b] = _place(work, entry + b)
            with loop(work.count) as query, when(firsts[b] <= work.position + query):
                read[query] = read[query] + 1
        with loop(blocks.live) as b, loop(heads) as h:
            values = values_of(work, pages[0], firsts[0])
            following = _following(work, blocks, b, h, heads, keys_of, values)
            products.score_keys(work.of(h), blocks, b, following)
        count = blocks.live * (padded(work.spec.block_size) // LANES)
        with loop(heads) as h, loop(work.rows) as row:
            softmax(work.of(h), row, count)
        several = T.And(heads == 1, work.count > 1)
        each = held(T.if_then_else(several, T.int32(work.schedule.value_blocks), T.int32(1)))
        keys = let(keys_of(work, *_place(work, entry + most)))
        with loop((blocks.live + each - 1) // each) as b, loop(heads) as h:
            first = held(b * each)
            end = held(T.min(first + each, blocks.live))
            following = _following(work, blocks, let(end - 1), h, heads, values_of, keys)
            products.add_values(work.of(h), blocks, first, end, following)
    with loop(heads) as h:
        keep_visited(work.of(h), read)


def _following(
    work: QueryRows,
    blocks: BlockTile,
    index: Expr,
    head: Expr,
    heads: Expr,
    address: Callable[[QueryRows, Expr, Expr], Expr],
    otherwise: Expr,
) -> Expr:
    """The address after a block of a head: the next head's, the next block's, or another one."""
    found, after, is_last = scalar(otherwise, "int64"), let(index + 1), let(head + 1 == heads)
    with when(T.And(is_last, after < blocks.live)):
        found[0] = address(work, blocks.pages[after], blocks.firsts[after])
    with when(T.Not(is_last)):
        found[0] = address(work.of(head + 1), blocks.pages[index], blocks.firsts[index])
    return found[0]


def _place(work: QueryRows, entry: Expr) -> tuple[Expr, Expr]:
    """Page and first position of an entry."""
    block = held(work.block(entry))
    page = page_of(work.tensors.page_table, work.table_row, block // work.spec.page_blocks)
    return page, let(block * work.spec.block_size)


def _copy(record: PartialRow, target: PartialRow) -> None:
    for column in range(0, record.visited + 1, 16):
        target.put(column, record.get(column))
