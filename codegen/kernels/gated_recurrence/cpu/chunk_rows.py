"""What the rows of a chunk are to each other: decays, and products of queries and keys."""

from sala_compile.codegen.kernels.gated_recurrence.cpu.head_work import F32, StateHead
from sala_compile.codegen.kernels.gated_recurrence.cpu.prepare_token import first_lane, prepare
from sala_compile.codegen.kernels.gated_recurrence.spec import CHUNK, Rule
from sala_compile.codegen.kernels.tir.builder import LANES, Expr, let, loop, scalar, splat
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.tile import zero_tile


def gather(work: StateHead, start: Expr, count: Expr) -> None:
    """Emit the rows of the tokens from `start` on, their rates, and all decays between them.

    The decay of token i since token j < i is the product of those of j + 1 to i, as the recurrence
    has it: row i is row i - 1 times the decay of i, and 1 at i; 0 for later tokens.
    """
    spec, at = work.spec, work.at
    since = scalar(T.float32(1.0))
    with loop(count) as r:
        row = let(start + r)
        decays, rates = prepare(work, row, r)
        key = let(at.keys + r * at.key_columns)
        with loop(spec.key_dim) as a:
            work.set_number(at.transposed + a * CHUNK + r, work.number(key + a))
        decay = first_lane(decays)
        since[0] = since[0] * decay
        work.set_number(at.since + r, since[0])
        work.set_number(at.rates + r, first_lane(rates))
        here, above = let(at.decays + r * CHUNK), let(at.decays + T.max(r - 1, 0) * CHUNK)
        for column in range(0, CHUNK, LANES):
            earlier = let(work.vector(above + column) * splat(decay))
            work.keep(here + column, T.Select(splat(r) == splat(T.int32(0)), splat(0.0), earlier))
        work.set_number(here + r, T.float32(1.0))


def products(work: StateHead, top: Expr) -> None:
    """Emit a q_i . k_j (`scores`) of a tile of rows i; -b_i a k_i . k_j too in a delta rule."""
    at, height, width = work.at, work.schedule.row_tile, work.schedule.column_vectors
    pairs = [(at.queries, at.scores)]
    if work.spec.rule is Rule.DELTA:
        pairs.append((at.keys, at.corrections))
    last = T.min((top + height - 1) // (LANES * width) + 1, T.int32(CHUNK // (LANES * width)))
    with loop(last) as turn:
        left = let(turn * (LANES * width))
        for rows_at, target in pairs:
            sums = zero_tile(height, width)
            sums.accumulate(
                F32,
                work.spec.key_dim,
                lambda i, a, rows_at=rows_at: work.spread(rows_at + (top + i) * at.key_columns + a),
                lambda j, a: work.vector(at.transposed + a * CHUNK + left + j * LANES),
            )
            for i in range(height):
                rate = work.spread(at.rates + top + i)
                for j in range(width):
                    place = (top + i) * CHUNK + left + j * LANES
                    value = sums[i, j] * work.vector(at.decays + place)
                    value = value if target == at.scores else splat(0.0) - rate * value
                    work.keep(target + place, value)
