"""Recurrences whose decay follows from the input: the gated delta rule, and Mamba-2."""

from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import StateHeads
from sala_compile.sala_ir.reference.arrays import (
    Array,
    device_of,
    merge_heads,
    repeat_heads,
    split_heads,
)
from sala_compile.sala_ir.reference.batch import Batch
from sala_compile.sala_ir.reference.gates import sigmoid, softplus
from sala_compile.sala_ir.reference.lightning import RecurrentState
from sala_compile.sala_ir.reference.rounding import Round, exact


def gated_delta(
    q: Array,
    k: Array,
    v: Array,
    decay: Array,
    rate: Array,
    state: RecurrentState,
    batch: Batch,
    decay_rate: Array,
    decay_bias: Array,
    *,
    heads: StateHeads,
    eps: float,
    rate_scale: float = 1.0,
    lower_bound: float = 0.0,
    state_rounding: Round = exact,
) -> tuple[Array, RecurrentState]:
    """Run the recurrence of every sequence; the operands are those of `GatedDeltaOp`.

    q and k [tokens, key heads * key dim], v [tokens, heads * value dim], decay [tokens, heads] or
    [tokens, heads * key dim], rate [tokens, heads] -> out like v, and the new states. A sequence
    without history starts from zero.
    """
    xp = array_namespace(q, k, v)
    queries, keys = (
        repeat_heads(_unit(split_heads(x, heads.key_heads), eps), heads.group) for x in (q, k)
    )
    values = split_heads(v, heads.num_heads)
    steps = split_heads(decay + decay_bias, heads.num_heads)
    speeds = xp.exp(decay_rate)[None, :, None]
    if lower_bound:
        decays = xp.exp(lower_bound * sigmoid(speeds * steps))
    else:
        decays = xp.exp(-speeds * softplus(steps))
    rates = rate_scale * sigmoid(rate)
    outs, updated = [values[:0, ...]], dict(state)
    shape = (heads.num_heads, heads.key_dim, heads.value_dim)
    nothing = xp.zeros(shape, dtype=v.dtype, device=device_of(v))
    for part in batch:
        start = state[part.slot] if part.history else nothing
        inputs = (x[part.rows, ...] for x in (queries * heads.scale, keys, values, decays, rates))
        out, final = delta_recurrence(*inputs, state=start)
        outs.append(out)
        updated[part.slot] = state_rounding(final)
    return merge_heads(xp.concat(outs, axis=0)), updated


def state_space(
    q: Array,
    k: Array,
    v: Array,
    decay: Array,
    state: RecurrentState,
    batch: Batch,
    decay_rate: Array,
    decay_bias: Array,
    skip: Array,
    *,
    heads: StateHeads,
    least: float,
    most: float,
    state_rounding: Round = exact,
) -> tuple[Array, RecurrentState]:
    """Run the recurrence of every sequence; the operands are those of `StateSpaceOp`.

    q and k [tokens, key heads * key dim], v [tokens, heads * value dim], decay [tokens, heads] ->
    out like v, and the new states. A sequence without history starts from zero.
    """
    xp = array_namespace(q, k, v)
    queries, keys = (repeat_heads(split_heads(x, heads.key_heads), heads.group) for x in (q, k))
    values = split_heads(v, heads.num_heads)
    steps = xp.clip(softplus(decay + decay_bias), least, most)
    decays = xp.exp(-xp.exp(decay_rate) * steps)
    outs, updated = [values[:0, ...]], dict(state)
    shape = (heads.num_heads, heads.key_dim, heads.value_dim)
    nothing = xp.zeros(shape, dtype=v.dtype, device=device_of(v))
    for part in batch:
        now = state[part.slot] if part.history else nothing
        for t in range(part.start, part.stop):
            added = steps[t, :, None] * values[t, ...]
            now = decays[t, :, None, None] * now + keys[t, :, :, None] * added[:, None, :]
            read = heads.scale * xp.sum(queries[t, :, :, None] * now, axis=1)
            outs.append((read + skip[:, None] * values[t, ...])[None, ...])
        updated[part.slot] = state_rounding(now)
    return merge_heads(xp.concat(outs, axis=0)), updated


def delta_recurrence(
    q: Array, k: Array, v: Array, decay: Array, rate: Array, *, state: Array
) -> tuple[Array, Array]:
    """Return o_t = S_t^T q_t and the last state, token by token.

    S_t = a_t S_(t-1) + k_t u_t^T with u_t = b_t (v_t - (a_t S_(t-1))^T k_t). q, k [tokens, heads,
    key dim], v [tokens, heads, value dim], decay a [tokens, heads, 1 or key dim], rate b [tokens,
    heads].
    """
    xp = array_namespace(q, k, v)
    outs = [v[:0, ...]]
    for t in range(q.shape[0]):
        state = decay[t, :, :, None] * state
        known = xp.sum(k[t, :, :, None] * state, axis=1)
        update = rate[t, :, None] * (v[t, ...] - known)
        state = state + k[t, :, :, None] * update[:, None, :]
        outs.append(xp.sum(q[t, :, :, None] * state, axis=1)[None, ...])
    return xp.concat(outs, axis=0), state


def _unit(x: Array, eps: float) -> Array:
    """Heads [.., size] of unit length."""
    xp = array_namespace(x)
    return x / xp.sqrt(xp.sum(xp.square(x), axis=-1, keepdims=True) + eps)
