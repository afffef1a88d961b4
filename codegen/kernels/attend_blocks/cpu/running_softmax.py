"""The running softmax of the rows: how it starts, what tiles and segments add, how it ends."""

import math
from typing import Protocol

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import MASKED, PartialRow, QueryRows
from sala_compile.codegen.kernels.attend_blocks.spec import Spec
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    Tensors,
    let,
    loop,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.product import Product
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

F32 = Element.F32


class ScoredRows(Protocol):
    """Rows of queries with their places in the workspaces, as `QueryRows` has them."""

    @property
    def tensors(self) -> Tensors: ...
    @property
    def worker(self) -> Expr: ...
    @property
    def product(self) -> Product: ...
    def scores(self, row: Expr) -> Expr: ...
    def probabilities(self, row: Expr) -> Expr: ...
    def factor(self, row: Expr) -> Expr: ...
    def current(self, row: Expr) -> PartialRow: ...
    def floats(self, place: Expr) -> Expr: ...
    def keep(self, place: Expr, value: Expr) -> None: ...


def score_scale(spec: Spec) -> float:
    """What products are multiplied by: scores are logarithms to the base 2."""
    return spec.scale / math.log(2)


def load_queries(work: QueryRows) -> None:
    """Emit the rounding of the queries."""
    spec, size = work.spec, work.spec.head_dim
    with loop(work.rows) as row:
        token, head = work.place(row)
        for column, live in live_lanes(size):
            query = F32.load(work.tensors.q, token, spec.q_start + head * size + column, count=live)
            place = work.query(row) + column
            work.product.keep(work.tensors.operands, work.worker, place, value=query)


def clear(record: PartialRow) -> None:
    """Emit a record of no keys."""
    for column in range(0, record.columns, LANES):
        record.put(column, splat(0.0))
    record.put(record.maximum, splat(MASKED))
    record.put(record.total, splat(0.0))
    record.put(record.visited, splat(0.0))


def softmax(work: ScoredRows, row: Expr, count: Expr) -> None:
    """Emit the running maximum and sum of a row, and the probabilities of `count` vectors."""
    scores, record = let(work.scores(row)), work.current(row)
    cells = registers(2)
    # All 16 lanes hold the row's maximum; sums stay lane by lane until the end.
    cells[0] = record.get(record.maximum)
    with loop(count) as v:
        cells[0] = vector.maximum(cells[0], work.floats(scores + v * LANES))
    largest = let(splat(vector.largest(cells[0])))
    factor = let(vector.exp2(record.get(record.maximum) - largest))
    cells[1] = record.get(record.total) * factor
    with loop(count) as v:
        weight = let(vector.exp2(work.floats(scores + v * LANES) - largest))
        cells[1] = cells[1] + weight
        place = work.probabilities(row) + v * LANES
        work.product.keep(work.tensors.operands, work.worker, place, value=weight)
    record.put(record.maximum, largest)
    record.put(record.total, cells[1])
    work.keep(work.factor(row), factor)


def join(joined: PartialRow, part: PartialRow) -> None:
    """Emit the addition of a segment to those before it."""
    before, own = let(joined.get(joined.maximum)), let(part.get(part.maximum))
    largest = let(vector.maximum(before, own))
    factors = let(vector.exp2(before - largest)), let(vector.exp2(own - largest))
    for column in (*range(0, joined.columns, LANES), joined.total):
        old = joined.get(column) * factors[0]
        joined.put(column, vector.fma(part.get(column), factors[1], old))
    joined.put(joined.maximum, largest)
    joined.put(joined.visited, joined.get(joined.visited) + part.get(part.visited))


def finish(spec: Spec, tensors: Tensors, record: PartialRow, token: Expr, head: Expr) -> None:
    """Emit the normalised, gated output of a row, and what a token has once: counter, padding."""
    size, pitch = spec.head_dim, padded(spec.num_heads * spec.head_dim)
    factor = let(splat(T.float32(1.0) / vector.total(record.get(record.total))))
    for column, live in live_lanes(size):
        value = record.get(column) * factor
        if (gates := tensors.find("gate")) is not None:
            place = (token, spec.gate_start + head * size + column)
            value = value * vector.sigmoid(F32.load(gates, *place, count=live))
        place = (token, head * size + column)
        spec.out_element.store(tensors.out, *place, value=value, count=live)
    with when(head % spec.group == 0):
        visited = vector.largest(record.get(record.visited))
        tensors.blocks_read[token, head // spec.group] = T.Cast("int32", visited)
    used = spec.num_heads * size
    if used < pitch:
        with when(head == spec.num_heads - 1):
            place, live = (token, used), pitch - used
            spec.out_element.store(tensors.out, *place, value=splat(0.0), count=live)


def keep_visited(work: QueryRows, read: Tensor) -> None:
    """Emit the number of blocks that the segment of each row has read."""
    with loop(work.rows) as row:
        record = work.current(row)
        visited = T.Cast("float32", read[row // work.spec.group])
        record.put(record.visited, splat(visited))
