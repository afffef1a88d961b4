"""The running softmax of the rows: how it starts, what a tile of scores adds, how it ends."""

from sala_compile.codegen.kernels.attend_blocks.cpu.query_rows import MASKED, QueryRows
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    Tensor,
    let,
    loop,
    registers,
    splat,
    when,
)
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import live_lanes
from sala_compile.codegen.layouts.padding import padded

F32 = Element.F32


def start(work: QueryRows) -> None:
    """Emit the rounding of the queries, and empty sums."""
    spec, size = work.spec, work.spec.head_dim
    with loop(work.rows) as row:
        token, head = work.place(row)
        for column, live in live_lanes(size):
            query = F32.load(work.tensors.q, token, spec.q_start + head * size + column, count=live)
            place = row * work.columns + column
            work.product.keep(work.tensors.operands, work.worker, place, value=query)
            work.keep(work.outputs_at + place, splat(0.0))
        work.keep(work.maxima_at + row * LANES, splat(MASKED))
        work.keep(work.sums_at + row * LANES, splat(0.0))


def softmax(work: QueryRows, row: Expr, blocks: Expr) -> None:
    """Emit the running maximum and sum of a row, and the probabilities of the tile."""
    count = blocks * (padded(work.spec.block_size) // LANES)
    scores = row * work.width
    cells = registers(2)
    # All 16 lanes hold the row's maximum; sums stay lane by lane until the end.
    cells[0] = work.floats(work.maxima_at + row * LANES)
    with loop(count) as v:
        cells[0] = vector.maximum(cells[0], work.floats(scores + v * LANES))
    largest = let(splat(vector.largest(cells[0])))
    factor = let(vector.exp(work.floats(work.maxima_at + row * LANES) - largest))
    cells[1] = work.floats(work.sums_at + row * LANES) * factor
    with loop(count) as v:
        weight = let(vector.exp(work.floats(scores + v * LANES) - largest))
        cells[1] = cells[1] + weight
        place = work.probabilities_at + row * work.width + v * LANES
        work.product.keep(work.tensors.operands, work.worker, place, value=weight)
    work.keep(work.maxima_at + row * LANES, largest)
    work.keep(work.sums_at + row * LANES, cells[1])
    work.keep(work.factors_at + row * LANES, factor)


def finish(work: QueryRows, read: Tensor) -> None:
    """Emit the normalised, gated output, zeros after the last head, and the counters."""
    spec, tensors, size = work.spec, work.tensors, work.spec.head_dim
    with loop(work.rows) as row:
        token, head = work.place(row)
        total = vector.total(work.floats(work.sums_at + row * LANES))
        factor = let(splat(T.float32(1.0) / total))
        for column, live in live_lanes(size):
            value = work.floats(work.outputs_at + row * work.columns + column) * factor
            if (gates := tensors.find("gate")) is not None:
                place = (token, spec.gate_start + head * size + column)
                gate = F32.load(gates, *place, count=live)
                value = value * vector.sigmoid(gate)
            place = (token, head * size + column)
            spec.out_element.store(tensors.out, *place, value=value, count=live)
    with loop(work.count) as query:
        tensors.blocks_read[work.token + query, work.head] = read[query]
    used = spec.num_heads * size
    if used < padded(used):
        with when(work.head == spec.kv_heads - 1), loop(work.count) as query:
            place = (work.token + query, used)
            live = padded(used) - used
            spec.out_element.store(tensors.out, *place, value=splat(0.0), count=live)
