"""Attention to chosen pools against sums over single tokens, and over cuts."""

from typing import Any

import numpy as np
import pytest

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import Heads

HEADS = Heads(4, 2, 3, 0.4)


def read_by(position: int, chosen: list[int], pool: int) -> list[int]:
    """The tokens that a query reads: those of its pools, and what is no complete pool yet."""
    complete = (position + 1) // pool
    own = [pool * p + i for p in chosen if p >= 0 for i in range(pool)]
    return [*own, *range(complete * pool, position + 1)]


def expanded(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, selection: np.ndarray, history: int, pool: int
) -> np.ndarray:
    """Token by token and head by head."""
    out = np.zeros((len(q), 4, 3))
    for t, query in enumerate(q.reshape(-1, 4, 3)):
        read = read_by(history + t, selection[t].tolist(), pool)
        for h in range(4):
            weights = np.exp(0.4 * k[read, h // 2] @ query[h])
            out[t, h] = weights / weights.sum() @ v[read, h // 2]
    return out.reshape(len(q), -1)


@pytest.mark.parametrize("pool", [1, 3, 4])
def test_reads_the_pools_and_what_comes_after_the_last(pool: int) -> None:
    random = np.random.default_rng(pool)
    q, k, v = (random.standard_normal((20, n)) for n in (12, 6, 6))
    selection = np.full((20, 3), -1, np.int32)
    for t in range(20):
        chosen = random.permutation((t + 1) // pool)[:3]
        selection[t, : len(chosen)] = np.sort(chosen)
    kv: Any = {}
    outs = []
    for first, last in ((0, 7), (7, 8), (8, 20)):
        part = slice(first, last)
        batch = reference.make_batch([0, last - first], [first], [20], [2])
        out, kv = reference.selected_attention(
            q[part], k[part], v[part], kv, batch, selection[part], heads=HEADS, pool=pool
        )
        outs.append(out)
    keys, values = kv[2]
    np.testing.assert_array_equal(keys.reshape(20, 6), k)
    wanted = expanded(q, keys, values, selection, 0, pool)
    np.testing.assert_allclose(np.concatenate(outs), wanted, rtol=1e-12)


def test_a_query_that_ends_a_pool_need_not_read_itself() -> None:
    random = np.random.default_rng(0)
    q, k, v = (random.standard_normal((8, n)) for n in (12, 6, 6))
    batch = reference.make_batch([0, 8], [0], [8], [0])
    kv = reference.append_kv(k, v, {}, batch, kv_heads=2)
    selection = np.zeros((8, 1), np.int32)
    selection[:3] = -1
    own = reference.attend_pools(q, kv, batch, selection, heads=HEADS, pool=4)
    v[7] = 1e6
    kv = reference.append_kv(k, v, {}, batch, kv_heads=2)
    other = reference.attend_pools(q, kv, batch, selection, heads=HEADS, pool=4)
    np.testing.assert_array_equal(other[7], own[7])
