"""The statements of attention to pools; README.md has the mathematics."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import PartialRow
from sala_compile.codegen.kernels.attend_blocks.cpu.running_softmax import clear, join, softmax
from sala_compile.codegen.kernels.attend_pools.cpu.pool_rows import PoolRows
from sala_compile.codegen.kernels.attend_pools.cpu.products import add_values, score_keys
from sala_compile.codegen.kernels.attend_pools.cpu.schedule import SHARED, Schedule
from sala_compile.codegen.kernels.attend_pools.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensors,
    held,
    let,
    loop,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.rows import clear_padding
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

F32 = Element.F32


@dataclass(frozen=True, slots=True)
class AttendPools:
    """Emits the attention of kv heads of tokens: whole, or a segment of the list of one."""

    spec: Spec
    schedule: Schedule
    tensors: Tensors

    def whole(self, worker: Expr, index: Expr) -> None:
        """Emit all segments of a kv head of a token, and the result."""
        work = self._rows(worker, index)
        _load_queries(work)
        _each(work, lambda row: clear(work.joined(row)))
        with loop(self._parts(work)) as part:
            self._segment(work, part)
            _each(work, lambda row: join(work.joined(row), work.current(row)))
        self._finish(work)

    def segment(self, worker: Expr, item: Expr) -> None:
        """Emit one segment of a kv head of a token, for others to join."""
        parts = self.schedule.segments(self.spec)
        index, part = held(item // parts), held(item % parts)
        work = self._rows(worker, index)
        with when(part < self._parts(work)):
            _load_queries(work)
            self._segment(work, part)
            _each(work, lambda row: _copy(work.current(row), self._partial(index, part, row)))

    def joined(self, worker: Expr, index: Expr) -> None:
        """Emit the result of a kv head of a token from its segments."""
        work = self._rows(worker, index)
        _each(work, lambda row: clear(work.joined(row)))
        with loop(self._parts(work)) as part:
            _each(work, lambda row: join(work.joined(row), self._partial(index, part, row)))
        self._finish(work)

    def _rows(self, worker: Expr, index: Expr) -> PoolRows:
        return PoolRows.of(self.spec, self.schedule, self.tensors, worker, index)

    def _tiles(self, work: PoolRows) -> Expr:
        most = self.schedule.entries(self.spec)
        return held((work.entries + (most - 1)) // most)

    def _parts(self, work: PoolRows) -> Expr:
        size = self.schedule.segment_tiles
        return held((self._tiles(work) + (size - 1)) // size)

    def _segment(self, work: PoolRows, part: Expr) -> None:
        """Emit the record of a segment."""
        size = self.schedule.segment_tiles
        begin = held(part * size)
        end = held(T.min(begin + size, self._tiles(work)))
        _each(work, lambda row: clear(work.current(row)))
        with loop(end - begin) as turn:
            tile = work.tile(held(begin + turn))
            score_keys(work, tile, self.spec.scale / math.log(2))
            count = held((tile.readable + (LANES - 1)) // LANES)
            _each(work, lambda row: softmax(work, row, count))
            add_values(work, tile)

    def _partial(self, index: Expr, part: Expr, row: Expr) -> PartialRow:
        """Where the record of a row for one of its segments is."""
        spec, schedule = self.spec, self.schedule
        parts, size = schedule.segments(spec), schedule.record(spec)
        place = held((index * parts + part) * spec.group + row)
        room = SHARED * parts * spec.group
        outer = (held(place // room),)
        start = held(place % room * size)
        return PartialRow(self.tensors.partials, outer, start, padded(spec.head_dim))

    def _finish(self, work: PoolRows) -> None:
        """Emit the normalised, gated outputs, and the padding of the row of a token."""
        spec, tensors, size = self.spec, self.tensors, self.spec.head_dim

        def finish(row: Expr) -> None:
            record, first = work.joined(row), held((work.head * spec.group + row) * size)
            factor = let(splat(T.float32(1.0) / vector.total(record.get(record.total))))
            for column, live in live_lanes(size):
                value = record.get(column) * factor
                if (gates := tensors.find("gate")) is not None:
                    place = (work.token, spec.gate_start + first + column)
                    value = value * vector.sigmoid(F32.load(gates, *place, count=live))
                place = (work.token, first + column)
                spec.out_element.store(tensors.out, *place, value=value, count=live)

        _each(work, finish)
        with when(work.head == spec.kv_heads - 1):
            clear_padding(spec.out_element, tensors.out, work.token, spec.num_heads * size)


def _each(work: PoolRows, body: Callable[[Expr], None]) -> None:
    with loop(work.spec.group) as row:
        body(row)


def _load_queries(work: PoolRows) -> None:
    """Emit the rounding of the queries."""
    spec, size = work.spec, work.spec.head_dim
    with loop(spec.group) as row:
        start = held(spec.q_start + (work.head * spec.group + row) * size)
        for column, live in live_lanes(size):
            query = F32.load(work.tensors.q, work.token, start + column, count=live)
            place = work.query(row) + column
            work.product.keep(work.tensors.operands, work.worker, place, value=query)


def _copy(source: PartialRow, target: PartialRow) -> None:
    """Emit a record in another place."""
    places = (*range(0, source.columns, LANES), source.maximum, source.total, source.visited)
    for column in places:
        target.put(column, source.get(column))
