"""Pools of consecutive tokens, and the rows that are kept of the pool that is not yet whole."""

from collections.abc import Mapping

from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array, device_of, take_rows
from sala_compile.sala_ir.reference.batch import Batch, SequenceRows
from sala_compile.sala_ir.reference.rounding import Round, exact

OpenPool = Mapping[int, Array]
"""Slot -> rows of the last tokens: [pool - 1, columns], that of token t in place t % pool."""


def pool_tokens(
    x: Array,
    state: OpenPool,
    batch: Batch,
    gate: Array | None = None,
    place: Array | None = None,
    *,
    pool: int,
    state_rounding: Round = exact,
) -> tuple[Array, OpenPool]:
    """Return, in the row of the last token of a pool, its mean; 0 in others; and the open pools.

    x and gate [tokens, columns], place [pool, columns]. With a gate a pool is the sum over its
    tokens of softmax(gate_s + place[s % pool]) * x_s, column by column. Pools begin at the first
    token of a sequence; `state` has the rows of x, next to them those of the gate.
    """
    xp = array_namespace(x)
    rows = x if gate is None else xp.concat([x, gate], axis=1)
    updated, outs = dict(state), [x[:0, ...]]
    nothing = xp.zeros((pool - 1, rows.shape[1]), dtype=x.dtype, device=device_of(x))
    for part in batch:
        past = state[part.slot] if part.history else nothing
        known = xp.concat([past, rows[part.rows, ...]], axis=0)
        outs.append(_pools(known, part, x.shape[1], place, pool))
        kept = [_source(number, part, pool) for number in range(pool - 1)]
        updated[part.slot] = state_rounding(take_rows(known, kept))
    return xp.concat(outs, axis=0), updated


def _source(place: int, part: SequenceRows, pool: int) -> int:
    """The row of `known` that has the last token of a place: of this step, or as it was kept."""
    last = part.length - 1
    token = last - (last - place) % pool
    return place if token < part.history else pool - 1 + token - part.history


def _pools(known: Array, part: SequenceRows, columns: int, place: Array | None, pool: int) -> Array:
    """The results of a sequence: `known` are the rows that were kept, then those of the step."""
    xp = array_namespace(known)
    ends = [t for t in range(part.history, part.length) if (t + 1) % pool == 0]
    first = pool - 1 - part.history
    members = [
        t + first if t >= part.history else t % pool
        for end in ends
        for t in range(end - pool + 1, end + 1)
    ]
    members = xp.reshape(take_rows(known, members), (len(ends), pool, known.shape[1]))
    rows = members[:, :, :columns]
    if place is None:
        pooled = xp.mean(rows, axis=1)
    else:
        logits = members[:, :, columns:] + place[None, ...]
        shares = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
        pooled = xp.sum(shares * rows, axis=1) / xp.sum(shares, axis=1)
    zero = xp.zeros((1, columns), dtype=known.dtype, device=device_of(known))
    number = {end: index + 1 for index, end in enumerate(ends)}
    chosen = [number.get(t, 0) for t in range(part.history, part.length)]
    return take_rows(xp.concat([zero, pooled], axis=0), chosen)
