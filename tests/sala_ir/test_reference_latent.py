"""Latent attention against keys and values made of every latent, and over cuts."""

import numpy as np

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import LatentHeads

HEADS = LatentHeads(3, 5, 4, 8, 6, 0.3)


def expanded(
    q: np.ndarray, rows: np.ndarray, keys: np.ndarray, values: np.ndarray, history: int
) -> np.ndarray:
    """Token by token and head by head, from all rows [tokens, C + R] of one sequence."""
    latents, rotary = rows[:, :8], rows[:, 8:]
    out = np.zeros((len(q), 3, 6))
    for t, query in enumerate(q.reshape(-1, 3, 9)):
        past = slice(0, history + t + 1)
        for h in range(3):
            made = latents[past] @ keys.reshape(3, 5, 8)[h].T
            key = np.concatenate([made, rotary[past]], axis=1)
            scores = np.exp(0.3 * key @ query[h])
            value = latents[past] @ values.reshape(3, 8, 6)[h]
            out[t, h] = scores / scores.sum() @ value
    return out.reshape(len(q), -1)


def test_both_sides_of_the_sums_are_equal() -> None:
    random = np.random.default_rng(0)
    q, latent, rotary = (random.standard_normal((7, n)) for n in (27, 8, 4))
    keys, values = random.standard_normal((15, 8)), random.standard_normal((24, 6))
    rows = np.concatenate([latent, rotary], axis=1)
    cache: dict[int, np.ndarray] = {1: random.standard_normal((9, 12))}
    outs = []
    for first, last in ((0, 3), (3, 7)):
        part = slice(first, last)
        batch = reference.make_batch([0, last - first], [4 + first], [11], [1])
        out, cache = reference.latent_attention(
            q[part], latent[part], rotary[part], cache, batch, keys, values, heads=HEADS
        )
        outs.append(out)
    whole = cache[1]
    np.testing.assert_array_equal(whole[4:], rows)
    wanted = expanded(q, whole, keys, values, 4)
    np.testing.assert_allclose(np.concatenate(outs), wanted, rtol=1e-12)


def test_a_head_reads_its_first_columns() -> None:
    random = np.random.default_rng(1)
    x, weight = random.standard_normal((4, 12)), random.standard_normal((6, 5))
    found = reference.head_linear(x, weight, num_heads=2)
    wanted = [x[:, :3] @ weight[:3], x[:, 6:9] @ weight[3:]]
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), rtol=1e-14)
