"""Tokens of a head that are read: the chunked form, 64 tokens at a time."""

from collections.abc import Sequence

from sala_compile.codegen.kernels.lightning_attention.cpu.head_work import F32, Head
from sala_compile.codegen.kernels.lightning_attention.cpu.prepare_heads import prepare
from sala_compile.codegen.kernels.lightning_attention.spec import CHUNK
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, let, loop, when
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import (
    Tile,
    cover_columns,
    cover_rows,
    live_lanes,
    tile,
    zero_tile,
)
from sala_compile.codegen.kernels.tir.token_order import in_chunks


def chunks(work: Head, start: Expr, count: Expr, history: Expr) -> None:
    """Emit the chunks of the tokens from row `start` on, which come after `history` tokens.

    A chunk ends at a position that is a multiple of 64, or with the last token.
    """
    in_chunks(CHUNK, start, count, history, lambda first, live: _chunk(work, first, live))


def _chunk(work: Head, start: Expr, count: Expr) -> None:
    """Emit one chunk of `count` <= 64 tokens."""
    height = work.schedule.row_tile
    _gather(work, start, count)
    with loop((count + height - 1) // height) as turn:
        top = let(turn * height)
        _scores(work, top)
        cover_columns(
            work.spec.head_dim,
            work.schedule.column_vectors,
            lambda first, live: _outputs(work, start, count, top, first, live),
        )
    whole = let(work.power(count))
    cover_columns(
        work.spec.head_dim,
        work.schedule.column_vectors,
        lambda first, live: _update(work, count, whole, first, live),
    )


def _gather(work: Head, start: Expr, count: Expr) -> None:
    spec, columns = work.spec, work.columns
    value_start = spec.v_start + work.kv_head * spec.head_dim
    chunk = work.tensors.chunk
    with loop(count) as r:
        prepare(work, start + r, r)
        key = let(work.keys_at + r * columns)
        with loop(spec.head_dim) as a:
            chunk[work.worker, work.transposed_at + a * CHUNK + r] = chunk[work.worker, key + a]
        to_end = let(work.power(count - 1 - r))
        for column, live in live_lanes(spec.head_dim):
            work.keep(key + column, work.chunk_vector(key + column) * to_end)
            value = F32.load(work.tensors.v, start + r, value_start + column, count=live)
            work.keep(work.values_at + r * columns + column, value)


def _scores(work: Head, top: Expr) -> None:
    """Emit lambda^(i - j) q_i . k_j for the rows from `top` on, 0 above the diagonal."""
    height, width = work.schedule.row_tile, work.schedule.column_vectors
    last = T.min((top + height - 1) // (LANES * width) + 1, T.int32(CHUNK // (LANES * width)))
    with loop(last) as turn:
        left = let(turn * (LANES * width))
        scores = zero_tile(height, width)
        scores.accumulate(
            F32,
            work.spec.head_dim,
            lambda i, a: work.chunk_spread((top + i) * work.columns + a),
            lambda j, a: work.chunk_vector(work.transposed_at + a * CHUNK + left + j * LANES),
        )
        for i in range(height):
            for j in range(width):
                place = work.scores_at + (top + i) * CHUNK + left + j * LANES
                distance = top + i - (left + j * LANES)
                work.keep(place, scores[i, j] * work.powers(distance))


def _outputs(
    work: Head, start: Expr, count: Expr, top: Expr, first: Expr, live: Sequence[int]
) -> None:
    height = work.schedule.row_tile
    places = [let((first + j) * LANES) for j in range(len(live))]
    out = zero_tile(height, len(live))
    out.accumulate(
        F32,
        work.spec.head_dim,
        lambda i, a: work.chunk_spread((top + i) * work.columns + a),
        lambda j, a: work.state(a, places[j], live[j]),
    )
    for i in range(height):
        since_start = let(work.power(top + i + 1))
        for j in range(len(live)):
            out[i, j] = out[i, j] * since_start
    out.accumulate(
        F32,
        T.min(top + height, count),
        lambda i, r: work.chunk_spread(work.scores_at + (top + i) * CHUNK + r),
        lambda j, r: work.chunk_vector(work.values_at + r * work.columns + places[j]),
    )
    for i in range(height):
        with when(top + i < count):
            for j, place in enumerate(places):
                work.set_out(start + top + i, place, out[i, j], live[j])


def _update(work: Head, count: Expr, whole: Expr, first: Expr, live: Sequence[int]) -> None:
    places = [let((first + j) * LANES) for j in range(len(live))]

    def rows(top: Expr, height: int) -> None:
        state: Tile = tile(height, len(live))
        state.fill(lambda i, j: work.state(top + i, places[j], live[j]) * whole)
        state.accumulate(
            F32,
            count,
            lambda i, r: work.chunk_spread(work.keys_at + r * work.columns + top + i),
            lambda j, r: work.chunk_vector(work.values_at + r * work.columns + places[j]),
        )
        for i in range(height):
            for j, place in enumerate(places):
                work.set_state(top + i, place, state[i, j], live[j])

    cover_rows(work.spec.head_dim, work.schedule.row_tile, rows)
