"""Lightning attention (section 7): a decayed outer-product state per head.

The recurrence is the meaning. The chunked form computes the same values with matrix products and
is what training and long inputs use.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.reference.arrays import (
    Array,
    device_of,
    merge_heads,
    repeat_heads,
    split_heads,
    swap_heads,
    to_like,
)
from sala_compile.sala_ir.reference.batch import Batch, SequenceGroup
from sala_compile.sala_ir.reference.norms import rms_norm
from sala_compile.sala_ir.reference.rope import rope
from sala_compile.sala_ir.reference.rounding import Round, exact

RecurrentState = Mapping[int, Array]
"""Slot -> state [heads, key dim, value dim]."""

CHUNK = 64
"""Tokens of one chunk of the chunked form."""


class LightningForm(Enum):
    """Which of the two equal forms computes the recurrence."""

    RECURRENT = "recurrent"
    CHUNKED = "chunked"


Recurrence = Callable[..., tuple[Array, Array]]
"""A function with the arguments and the results of `lightning_recurrence`."""


def lightning_attention(
    q: Array,
    k: Array,
    v: Array,
    state: RecurrentState,
    batch: Batch,
    q_norm: Array | None = None,
    k_norm: Array | None = None,
    rope_table: Array | None = None,
    *,
    heads: Heads,
    eps: float,
    slopes: Sequence[float] | np.ndarray,
    form: LightningForm | Recurrence = LightningForm.CHUNKED,
    state_rounding: Round = exact,
) -> tuple[Array, RecurrentState]:
    """Norm, rotate and run the recurrence of every sequence: section 7 up to the output norm.

    q [tokens, num_heads * head_dim], k and v [tokens, kv_heads * head_dim] -> out like q, and the
    new states. Norm weights [head_dim] and the rotary table apply where given. A sequence without
    history starts from zero. `form` may be a function that computes what the two forms compute.
    """
    xp = array_namespace(q, k, v)
    q = _prepare(q, q_norm, rope_table, eps=eps, head_dim=heads.head_dim)
    k = _prepare(k, k_norm, rope_table, eps=eps, head_dim=heads.head_dim)
    queries = split_heads(q, heads.num_heads) * heads.scale
    keys, values = (repeat_heads(split_heads(x, heads.kv_heads), heads.group) for x in (k, v))
    run = _FORMS[form] if isinstance(form, LightningForm) else form
    outs, updated = [queries[:0, ...]], dict(state)
    for group in batch.groups:
        start = _start_state(state, group, keys, values)
        grouped = (
            xp.reshape(x[group.rows, ...], (len(group.parts), group.first.count, *x.shape[1:]))
            for x in (queries, keys, values)
        )
        out, final = run(*grouped, slopes=slopes, state=start, history=group.first.history)
        outs.append(xp.reshape(out, (-1, *out.shape[2:])))
        for index, slot in enumerate(group.slots):
            updated[slot] = state_rounding(final[index, ...])
    return merge_heads(xp.concat(outs, axis=0)), updated


def lightning_recurrence(
    q: Array,
    k: Array,
    v: Array,
    *,
    slopes: Sequence[float] | np.ndarray,
    state: Array,
    history: int = 0,
) -> tuple[Array, Array]:
    """Return o_t = q_t S_t and the last state, S_t = lambda S_(t-1) + k_t (outer) v_t.

    q, k, v [..., tokens, heads, head_dim] with the scale in q, state [..., heads, head_dim,
    head_dim]; leading dimensions are sequences, which have `history` tokens before these.
    """
    xp = array_namespace(q, k, v)
    decay = xp.exp(-to_like(slopes, q))[:, None, None]
    outs = [v[..., :0, :, :]]
    for t in range(q.shape[-3]):
        state = decay * state + k[..., t, :, :, None] * v[..., t, :, None, :]
        outs.append(xp.matmul(q[..., t, :, None, :], state)[..., None, :, 0, :])
    return xp.concat(outs, axis=-3), state


def lightning_chunked(
    q: Array,
    k: Array,
    v: Array,
    *,
    slopes: Sequence[float] | np.ndarray,
    state: Array,
    history: int = 0,
    chunk: int = CHUNK,
) -> tuple[Array, Array]:
    """Return what `lightning_recurrence` returns, `chunk` tokens at a time.

    Chunks begin at positions that are multiples of `chunk`, the first one with the first token.
    """
    xp = array_namespace(q, k, v)
    rates = to_like(slopes, q)
    outs = [v[..., :0, :, :]]
    for start in range(-(history % chunk), q.shape[-3], chunk):
        rows = slice(max(start, 0), start + chunk)
        queries, keys, values = (swap_heads(x[..., rows, :, :]) for x in (q, k, v))
        out, state = _one_chunk(queries, keys, values, rates, state)
        outs.append(swap_heads(out))
    return xp.concat(outs, axis=-3), state


_FORMS: dict[LightningForm, Recurrence] = {
    LightningForm.RECURRENT: lightning_recurrence,
    LightningForm.CHUNKED: lightning_chunked,
}


def _one_chunk(q: Array, k: Array, v: Array, rates: Array, state: Array) -> tuple[Array, Array]:
    """Run one chunk of q, k, v [..., heads, tokens, head_dim] from `state`."""
    xp = array_namespace(q, k, v)
    tokens = q.shape[-2]
    step = to_like(np.arange(tokens), q)
    rates = rates[:, None]
    since_start = xp.exp(-rates * (step + 1))[:, :, None]
    to_end = xp.exp(-rates * (tokens - 1 - step))[:, :, None]
    distance = step[:, None] - step[None, :]
    causal = distance >= 0
    between = xp.exp(-rates[:, :, None] * xp.where(causal, distance, 0.0))
    between = xp.where(causal, between, 0.0)
    inside = xp.matmul(xp.matmul(q, xp.matrix_transpose(k)) * between, v)
    out = since_start * xp.matmul(q, state) + inside
    added = xp.matmul(xp.matrix_transpose(k * to_end), v)
    return out, xp.exp(-rates * tokens)[:, :, None] * state + added


def _prepare(
    x: Array, norm: Array | None, table: Array | None, *, eps: float, head_dim: int
) -> Array:
    x = x if norm is None else rms_norm(x, norm, eps=eps)
    return x if table is None else rope(x, table, head_dim=head_dim)


def _start_state(state: RecurrentState, group: SequenceGroup, keys: Array, values: Array) -> Array:
    """The states before the new tokens of a group: [sequences, heads, key dim, value dim]."""
    xp = array_namespace(keys, values)
    if group.first.history:
        return xp.stack([state[slot] for slot in group.slots])
    shape = (len(group.parts), keys.shape[1], keys.shape[2], values.shape[2])
    return xp.zeros(shape, dtype=keys.dtype, device=device_of(keys))
