"""Lightning attention: recurrence, chunked form, continuation."""

import numpy as np
import pytest

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies
from sala_compile.sala_ir.reference import LightningForm


def _attend(q, k, v, state, batch, **options):
    settings = {
        "heads": Heads(4, 4, 6, 6**-0.5),
        "eps": 1e-6,
        "slopes": lightning_slopes(4),
    }
    return reference.lightning_attention(q, k, v, state, batch, **(settings | options))


def _inputs(tokens, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((tokens, 24)) for _ in range(3)]


def test_recurrence_is_the_closed_form():
    q, k, v = (x.reshape(9, 4, 6) for x in _inputs(9))
    slopes = lightning_slopes(4)
    out, state = reference.lightning_recurrence(q, k, v, slopes=slopes, state=np.zeros((4, 6, 6)))
    decay = np.exp(-slopes.astype(np.float64))
    for head in range(4):
        powers = decay[head] ** np.subtract.outer(np.arange(9), np.arange(9))
        weights = np.tril(q[:, head] @ k[:, head].T * powers)
        np.testing.assert_allclose(out[:, head], weights @ v[:, head], atol=1e-12)
        left = (k[:, head] * decay[head] ** np.arange(8, -1, -1)[:, None]).T @ v[:, head]
        np.testing.assert_allclose(state[head], left, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 130])
@pytest.mark.parametrize("history", [0, 1, 63, 64, 100])
def test_chunked_equals_recurrence(tokens, history):
    q, k, v = (x.reshape(tokens, 4, 6) for x in _inputs(tokens))
    options = {"slopes": lightning_slopes(4), "state": np.full((4, 6, 6), 0.25)}
    expected = reference.lightning_recurrence(q, k, v, **options)
    chunked = reference.lightning_chunked(q, k, v, **options, history=history)
    for result, want in zip(chunked, expected, strict=True):
        np.testing.assert_allclose(result, want, atol=1e-11)


def test_chunks_begin_at_multiples_of_their_size():
    q, k, v = (x.reshape(200, 4, 6).astype(np.float32) for x in _inputs(200))
    options = {"slopes": lightning_slopes(4)}
    start = np.full((4, 6, 6), 0.25, np.float32)
    whole, final = reference.lightning_chunked(q, k, v, **options, state=start, history=37)
    outs, state = [], start
    for rows in (slice(0, 27), slice(27, 155), slice(155, 200)):
        parts = (x[rows] for x in (q, k, v))
        out, state = reference.lightning_chunked(
            *parts, **options, state=state, history=37 + rows.start
        )
        outs.append(out)
    np.testing.assert_array_equal(np.concatenate(outs), whole)
    np.testing.assert_array_equal(state, final)


def test_a_slow_head_stays_finite_over_long_inputs():
    q = np.ones((500, 1, 2), np.float32)
    out, _ = reference.lightning_chunked(
        q, q, q, slopes=[30.0], state=np.zeros((1, 2, 2), np.float32), chunk=500
    )
    np.testing.assert_allclose(out, 2.0, rtol=1e-5)


@pytest.mark.parametrize("form", list(LightningForm))
def test_batch_of_continued_sequences_equals_each_alone(form):
    q, k, v = _inputs(40)
    whole, final = _attend(
        q, k, v, {}, reference.make_batch([0, 25, 40], [0, 0], [25, 15], [3, 1]), form=form
    )
    rows = [*range(0, 10), *range(25, 26)], [*range(10, 25), *range(26, 40)]
    first = reference.make_batch([0, 10, 11], [0, 0], [25, 15], [3, 1])
    second = reference.make_batch([0, 15, 29], [10, 1], [25, 15], [3, 1])
    outs, state = np.full_like(whole, np.nan), {}
    for part, batch in zip(rows, (first, second), strict=True):
        outs[part], state = _attend(q[part], k[part], v[part], state, batch, form=form)
    np.testing.assert_allclose(outs, whole, atol=1e-12)
    for slot in (1, 3):
        np.testing.assert_allclose(state[slot], final[slot], atol=1e-12)


def test_stale_state_is_not_read_without_history():
    q, k, v = _inputs(5)
    batch = reference.make_batch([0, 5], [0], [5], [0])
    clean, _ = _attend(q, k, v, {}, batch)
    stale, _ = _attend(q, k, v, {0: np.full((4, 6, 6), np.nan)}, batch)
    np.testing.assert_array_equal(clean, stale)


def test_fused_norm_and_rotation_come_in_this_order():
    q, k, v = _inputs(7)
    rng = np.random.default_rng(1)
    q_norm, k_norm = rng.uniform(0.5, 1.5, (2, 6))
    batch = reference.make_batch([0, 7], [0], [7], [0])
    table = reference.rope_table(batch, frequencies=inverse_frequencies(10000.0, 6))
    fused, _ = _attend(q, k, v, {}, batch, q_norm=q_norm, k_norm=k_norm, rope_table=table)
    separate = [
        reference.rope(reference.rms_norm(x, weight, eps=1e-6), table, head_dim=6)
        for x, weight in ((q, q_norm), (k, k_norm))
    ]
    expected, _ = _attend(*separate, v, {}, batch)
    np.testing.assert_array_equal(fused, expected)


def test_repeated_kv_heads():
    q, k, v = _inputs(9)
    batch = reference.make_batch([0, 9], [0], [9], [0])
    narrow_k, narrow_v = k[:, :12], v[:, :12]
    wide = [np.repeat(x.reshape(9, 2, 6), 2, axis=1).reshape(9, 24) for x in (narrow_k, narrow_v)]
    grouped, _ = _attend(q, narrow_k, narrow_v, {}, batch, heads=Heads(4, 2, 6, 6**-0.5))
    expected, _ = _attend(q, *wide, {}, batch)
    np.testing.assert_array_equal(grouped, expected)
