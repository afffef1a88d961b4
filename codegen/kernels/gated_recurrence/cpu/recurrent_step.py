"""Single tokens of a head: the recurrent form."""

from collections.abc import Sequence
from dataclasses import replace

from sala_compile.codegen.kernels.gated_recurrence.cpu.head_work import StateHead
from sala_compile.codegen.kernels.gated_recurrence.cpu.prepare_token import (
    prepare,
    prepare_channels,
)
from sala_compile.codegen.kernels.gated_recurrence.spec import Rule
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    let,
    loop,
    splat,
)
from sala_compile.codegen.kernels.tir.tile import cover_columns, zero_tile
from sala_compile.codegen.kernels.tir.token_order import one_by_one


def steps(work: StateHead, start: Expr, count: Expr, checkpoint: Expr) -> None:
    """Emit the tokens from row `start` on one after the other: each as if it came alone.

    With a `checkpoint` that is not negative, the states after all tokens but the last go to the
    rows of the pool from there on, and the sequence's own row gets the last.
    """
    one_by_one(
        work.slot,
        start,
        count,
        checkpoint,
        lambda source, target, row: _step(
            replace(work, slot=source), replace(work, slot=target), row
        ),
    )


def _step(work: StateHead, target: StateHead, row: Expr) -> None:
    """Emit one token; a delta rule reads columns of the state twice, then from the cache."""
    spec, at = work.spec, work.at
    if spec.channel_decay:
        decay, rate = None, prepare_channels(work, row, 0)
    else:
        decay, rate = prepare(work, row, 0)

    def columns(first: Expr, live: Sequence[int]) -> None:
        places = [(first + j) * LANES for j in range(len(live))]
        updates = [work.vector(at.updates + place) for place in places]
        sums = zero_tile(1, len(live))
        if spec.rule is Rule.DELTA:
            with loop(spec.key_dim) as a:
                key = work.spread(at.keys + a)
                if decay is None:
                    key = let(key * work.spread(at.own_decays + a))
                for j, place in enumerate(places):
                    sums[0, j] = vector.fma(key, work.state(a, place, live[j]), sums[0, j])
            for j, value in enumerate(updates):
                known = sums[0, j] if decay is None else decay * sums[0, j]
                updates[j] = let(rate * (value - known))
                sums[0, j] = splat(0.0)
        with loop(spec.key_dim) as a:
            query, key = work.spread(at.queries + a), work.spread(at.keys + a)
            own = work.spread(at.own_decays + a) if decay is None else decay
            for j, place in enumerate(places):
                old = work.state(a, place, live[j])
                state = let(vector.fma(own, old, key * updates[j]))
                target.set_state(a, place, state, live[j])
                sums[0, j] = vector.fma(query, state, sums[0, j])
        for j, place in enumerate(places):
            out = work.skipped(row, place, sums[0, j], live[j])
            work.set_out(row, place, out, live[j])

    cover_columns(spec.value_dim, work.schedule.step_vectors, columns)
