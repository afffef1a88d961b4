"""What the rows of a chunk are to each other where every row of a state has a decay of its own.

No product of decays is a quotient of two: keys decay in place, token by token, and queries since
the beginning of their block, so that nothing overflows and what is forgotten becomes 0.
"""

from sala_compile.codegen.kernels.gated_recurrence.cpu.head_work import F32, StateHead
from sala_compile.codegen.kernels.gated_recurrence.cpu.prepare_token import (
    first_lane,
    prepare_channels,
)
from sala_compile.codegen.kernels.gated_recurrence.cpu.schedule import BLOCK
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    held,
    let,
    loop,
    registers,
    splat,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import Tile, zero_tile

TOGETHER = 4
"""Partial sums of a product whose terms wait for each other."""


def gather_channels(work: StateHead, start: Expr, count: Expr) -> None:
    """Emit the rows of the tokens from `start` on, `scores` and `corrections` between them.

    Scores are q_i . (a k_j), corrections -b_i k_i . (a k_j), a the decays of j + 1 to i. Queries
    and keys then have the decay since the beginning, `transposed` the keys that to the end.
    """
    spec, at = work.spec, work.at
    with loop(spec.key_dim) as a, loop(CHUNK // LANES) as v:
        work.keep(at.transposed + a * CHUNK + v * LANES, splat(0.0))
    with loop(at.key_columns // LANES) as c:
        work.keep(at.whole_decay + c * LANES, splat(1.0))
    with loop((count + (BLOCK - 1)) // BLOCK) as block:
        first = held(block * BLOCK)
        live = held(T.min(count - first, T.int32(BLOCK)))
        _rows(work, start, first, live)
        with loop(block) as earlier:
            _earlier(work, first, held(earlier * LANES))
        _own(work, first, live)
        _decay_until_now(work, first, live)


def _rows(work: StateHead, start: Expr, first: Expr, live: Expr) -> None:
    """Emit the rows of a block, and queries and keys after the decay since its beginning."""
    at = work.at
    vectors = at.key_columns // LANES
    with loop(vectors) as c:
        work.keep(at.block_decay + c * LANES, splat(1.0))
    with loop(live) as r:
        place = held(first + r)
        rate = prepare_channels(work, let(start + place), place)
        work.set_number(at.rates + place, first_lane(rate))
        with loop(vectors) as c:
            column = let(c * LANES)
            own = work.vector(at.own_decays + place * at.key_columns + column)
            since = let(work.vector(at.block_decay + column) * own)
            work.keep(at.block_decay + column, since)
            for rows, target in ((at.queries, at.block_queries), (at.keys, at.block_keys)):
                value = work.vector(rows + place * at.key_columns + column)
                work.keep(target + r * at.key_columns + column, value * since)


def _earlier(work: StateHead, first: Expr, left: Expr) -> None:
    """Emit scores and corrections of a block's rows with 16 tokens of an earlier block."""
    at, height = work.at, work.schedule.row_tile
    for top in range(0, BLOCK, height):
        rows = min(height, BLOCK - top)
        for source, target in ((at.block_queries, at.scores), (at.block_keys, at.corrections)):
            sums = zero_tile(rows, 1)
            sums.accumulate(
                F32,
                work.spec.key_dim,
                lambda i, a, source=source, top=top: work.spread(
                    source + (top + i) * at.key_columns + a
                ),
                lambda j, a: work.vector(at.transposed + a * CHUNK + left),
            )
            for i in range(rows):
                row = let(first + top + i)
                _keep(work, target, row, left, sums[i, 0])


def _keep(work: StateHead, target: int, row: Expr, left: Expr, products: Expr) -> None:
    """Emit the write of 16 scores of a row, or of its corrections."""
    at = work.at
    if target == at.corrections:
        products = splat(0.0) - work.spread(at.rates + row) * products
    work.keep(target + row * CHUNK + left, products)


def _own(work: StateHead, first: Expr, live: Expr) -> None:
    """Emit scores and corrections inside of a block, row by row; a row's keys decay as it comes."""
    at, size = work.at, work.spec.key_dim
    lane = T.ramp(T.int32(0), 1, LANES)
    with loop(live) as r:
        place = held(first + r)
        sums = zero_tile(2, TOGETHER)

        def add(a: Expr, part: int) -> None:
            row = let(place * at.key_columns + a)
            here = let(at.transposed + a * CHUNK + first)
            key = work.spread(at.keys + row)
            faded = work.vector(here) * work.spread(at.own_decays + row)
            keys = let(T.Select(lane == splat(r), key, faded))
            work.keep(here, keys)
            sums[0, part] = vector.fma(work.spread(at.queries + row), keys, sums[0, part])
            sums[1, part] = vector.fma(key, keys, sums[1, part])

        whole = size // TOGETHER
        if whole:
            with loop(whole) as turn:
                for part in range(TOGETHER):
                    add(let(turn * TOGETHER + part), part)
        for a in range(whole * TOGETHER, size):
            add(T.int32(a), a % TOGETHER)
        for index, target in enumerate((at.scores, at.corrections)):
            _keep(work, target, place, first, _total(sums, index))


def _total(sums: Tile, row: int) -> Expr:
    """The partial sums of a row, added in pairs."""
    return let((sums[row, 0] + sums[row, 1]) + (sums[row, 2] + sums[row, 3]))


def _decay_until_now(work: StateHead, first: Expr, live: Expr) -> None:
    """Emit the decay of earlier keys over a block, and of its rows since the beginning."""
    at = work.at
    with loop(first // LANES) as v, loop(work.spec.key_dim) as a:
        place = let(at.transposed + a * CHUNK + v * LANES)
        work.keep(place, work.vector(place) * work.spread(at.block_decay + a))
    with loop(at.key_columns // LANES) as c:
        column = let(c * LANES)
        since = registers(1)
        since[0] = work.vector(at.whole_decay + column)
        with loop(live) as r:
            row = let((first + r) * at.key_columns + column)
            since[0] = since[0] * work.vector(at.own_decays + row)
            for rows in (at.queries, at.keys):
                work.keep(rows + row, work.vector(rows + row) * since[0])
        work.keep(at.whole_decay + column, since[0])
