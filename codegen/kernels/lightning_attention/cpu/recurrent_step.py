"""Single tokens of a head: the recurrent form."""

from collections.abc import Sequence
from dataclasses import replace

from sala_compile.codegen.kernels.lightning_attention.cpu.head_work import F32, Head
from sala_compile.codegen.kernels.lightning_attention.cpu.prepare_heads import prepare
from sala_compile.codegen.kernels.tir import vector
from sala_compile.codegen.kernels.tir.builder import (
    LANES,
    Expr,
    let,
    loop,
)
from sala_compile.codegen.kernels.tir.tile import cover_columns, zero_tile
from sala_compile.codegen.kernels.tir.token_order import one_by_one


def steps(work: Head, start: Expr, count: Expr, checkpoint: Expr) -> None:
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


def _step(work: Head, target: Head, row: Expr) -> None:
    """Emit one token: the state is read and written once, to `target`; nothing else is large."""
    spec = work.spec
    prepare(work, row, 0)
    decay = let(work.power(1))
    start = spec.v_start + work.kv_head * spec.head_dim

    def columns(first: Expr, live: Sequence[int]) -> None:
        out = zero_tile(1, len(live))
        places = [(first + j) * LANES for j in range(len(live))]
        values = [
            let(F32.load(work.tensors.v, row, start + place, count=count))
            for place, count in zip(places, live, strict=True)
        ]
        with loop(spec.head_dim) as a:
            query = work.chunk_spread(a)
            key = work.chunk_spread(work.keys_at + a)
            for j, (place, count) in enumerate(zip(places, live, strict=True)):
                state = let(vector.fma(decay, work.state(a, place, count), key * values[j]))
                target.set_state(a, place, state, count)
                out[0, j] = vector.fma(query, state, out[0, j])
        for j, (place, count) in enumerate(zip(places, live, strict=True)):
            work.set_out(row, place, out[0, j], count)

    cover_columns(spec.head_dim, work.schedule.step_vectors, columns)
