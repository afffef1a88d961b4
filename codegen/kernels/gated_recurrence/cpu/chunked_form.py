"""Tokens of a head that are read: the chunked form, 64 tokens at a time; README.md derives it."""

from collections.abc import Sequence

from sala_compile.codegen.kernels.gated_recurrence.cpu.channel_rows import gather_channels
from sala_compile.codegen.kernels.gated_recurrence.cpu.chunk_rows import gather, products
from sala_compile.codegen.kernels.gated_recurrence.cpu.head_work import F32, StateHead
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Rule
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, let, loop, when
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import Tile, cover_columns, cover_rows, tile, zero_tile
from sala_compile.codegen.kernels.tir.token_order import in_chunks


def chunks(work: StateHead, start: Expr, count: Expr, history: Expr) -> None:
    """Emit the chunks of the tokens from row `start` on, which come after `history` tokens.

    A chunk ends at a position that is a multiple of 64, or with the last token.
    """
    in_chunks(CHUNK, start, count, history, lambda first, live: _chunk(work, first, live))


def _chunk(work: StateHead, start: Expr, count: Expr) -> None:
    """Emit one chunk of `count` <= 64 tokens; columns of the values do not depend on others."""
    height = work.schedule.row_tile
    tiles = let((count + height - 1) // height)
    if work.spec.channel_decay:
        gather_channels(work, start, count)
    else:
        gather(work, start, count)
        with loop(tiles) as turn:
            products(work, let(turn * height))
        _scale_keys(work, count)

    def columns(first: Expr, live: Sequence[int]) -> None:
        with loop(tiles) as turn:
            top = let(turn * height)
            if work.spec.rule is Rule.DELTA:
                _updates(work, top, first, live)
            _outputs(work, start, count, top, first, live)
        _state(work, count, first, live)

    cover_columns(work.spec.value_dim, work.schedule.column_vectors, columns)


def _scale_keys(work: StateHead, count: Expr) -> None:
    """Emit keys that decayed to the end of the chunk, for the state, in a place of their own."""
    at = work.at
    with loop(count) as r:
        to_end = let(work.spread(at.decays + (count - 1) * CHUNK + r))
        for column in range(0, at.key_columns, LANES):
            place = at.ending + r * at.key_columns + column
            work.keep(place, work.vector(at.keys + r * at.key_columns + column) * to_end)


def _updates(work: StateHead, top: Expr, first: Expr, live: Sequence[int]) -> None:
    """Emit u = b (v - a k S) - corrections u of a tile of rows, in place of its values.

    The earlier tiles come as one product; inside, each row is subtracted from those after it.
    """
    at, height = work.at, work.schedule.row_tile
    found = zero_tile(height, len(live))
    places = [let((first + j) * LANES) for j in range(len(live))]
    _add_state(work, found, at.keys, top, places, live)
    for i in range(height):
        rate = work.spread(at.rates + top + i)
        for j, place in enumerate(places):
            value = work.vector(at.updates + (top + i) * at.value_columns + place)
            found[i, j] = rate * (value - _since(work, top + i, found[i, j]))
    _add_updates(work, found, at.corrections, top, top, places)
    for i in range(height):
        for below in range(i + 1, height):
            factor = work.spread(at.corrections + (top + below) * CHUNK + top + i)
            for j in range(len(live)):
                found[below, j] = vector.fma(factor, found[i, j], found[below, j])
    for i in range(height):
        for j, place in enumerate(places):
            work.keep(at.updates + (top + i) * at.value_columns + place, found[i, j])


def _outputs(
    work: StateHead, start: Expr, count: Expr, top: Expr, first: Expr, live: Sequence[int]
) -> None:
    """Emit o = a q S + scores u of a tile of rows."""
    at, height = work.at, work.schedule.row_tile
    out = zero_tile(height, len(live))
    places = [let((first + j) * LANES) for j in range(len(live))]
    _add_state(work, out, at.queries, top, places, live)
    for i in range(height):
        for j in range(len(live)):
            out[i, j] = _since(work, top + i, out[i, j])
    _add_updates(work, out, at.scores, top, T.min(top + height, count), places)
    for i in range(height):
        with when(top + i < count):
            for j, place in enumerate(places):
                row = start + top + i
                work.set_out(row, place, work.skipped(row, place, out[i, j], live[j]), live[j])


def _since(work: StateHead, row: Expr, product: Expr) -> Expr:
    """A product with the state before the chunk, after the decay until a token.

    Decays by channel are in the rows of queries and keys already.
    """
    if work.spec.channel_decay:
        return product
    return product * work.spread(work.at.since + row)


def _state(work: StateHead, count: Expr, first: Expr, live: Sequence[int]) -> None:
    """Emit S' = a S + sum of k u, the keys decayed to the end."""
    at, channels = work.at, work.spec.channel_decay
    places = [let((first + j) * LANES) for j in range(len(live))]
    one = None if channels else let(work.spread(at.since + count - 1))

    def rows(top: Expr, height: int) -> None:
        state: Tile = tile(height, len(live))
        whole = [
            work.spread(at.whole_decay + top + i) if one is None else one for i in range(height)
        ]
        state.fill(lambda i, j: work.state(top + i, places[j], live[j]) * whole[i])

        def key(i: int, r: Expr) -> Expr:
            place = (top + i) * CHUNK + r if channels else r * at.key_columns + top + i
            return work.spread((at.transposed if channels else at.ending) + place)

        state.accumulate(
            F32,
            count,
            key,
            lambda j, r: work.vector(at.updates + r * at.value_columns + places[j]),
        )
        for i in range(height):
            for j, place in enumerate(places):
                work.set_state(top + i, place, state[i, j], live[j])

    cover_rows(work.spec.key_dim, work.schedule.row_tile, rows)


def _add_state(
    work: StateHead,
    sums: Tile,
    rows_at: int,
    top: Expr,
    places: Sequence[Expr],
    live: Sequence[int],
) -> None:
    """Emit sums += rows S, the rows of queries or keys from `top` on."""
    columns = work.at.key_columns
    sums.accumulate(
        F32,
        work.spec.key_dim,
        lambda i, a: work.spread(rows_at + (top + i) * columns + a),
        lambda j, a: work.state(a, places[j], live[j]),
    )


def _add_updates(
    work: StateHead, sums: Tile, factors_at: int, top: Expr, count: Expr, places: Sequence[Expr]
) -> None:
    """Emit sums += factors u of the first `count` tokens."""
    at = work.at
    sums.accumulate(
        F32,
        count,
        lambda i, r: work.spread(factors_at + (top + i) * CHUNK + r),
        lambda j, r: work.vector(at.updates + r * at.value_columns + places[j]),
    )
