"""Indexers against sums worked token by token, over cuts, ties and pools of several sizes."""

from itertools import pairwise

import numpy as np
import pytest

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import LatentHeads

HEADS, SIZE, COUNT, TOKENS = 3, 4, 5, 23


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, keys and weights of a sequence."""
    random = np.random.default_rng(seed)
    columns = (HEADS * SIZE, SIZE, HEADS)
    q, keys, weights = (random.standard_normal((TOKENS, count)) for count in columns)
    return q, keys, weights


def by_hand(q: np.ndarray, keys: np.ndarray, weights: np.ndarray | None, pool: int) -> np.ndarray:
    """The selection, one product after the other."""
    found = np.full((len(q), COUNT), -1)
    for t in range(len(q)):
        scores: list[float] = []
        for p in range((t + 1) // pool):
            score = 0.0
            for h in range(HEADS):
                product = 0.5 * q[t, h * SIZE : (h + 1) * SIZE] @ keys[(p + 1) * pool - 1]
                score += max(product, 0.0) * (1.0 if weights is None else weights[t, h])
            scores.append(score)
        best = sorted(sorted(range(len(scores)), key=lambda p: (-scores[p], p))[:COUNT])
        found[t, : len(best)] = best
    return found


@pytest.mark.parametrize("pool", [1, 2, 4, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_choices_worked_by_hand_however_the_text_is_cut(pool: int, weighted: bool) -> None:
    q, keys, weights = drawn()
    given = weights if weighted else None
    wanted = by_hand(q, keys, given, pool)
    for cuts in ((0, TOKENS), (0, 7, 8, TOKENS), tuple(range(TOKENS + 1))):
        cache: reference.IndexerKeys = {}
        parts: list[np.ndarray] = []
        for first, last in pairwise(cuts):
            batch = reference.make_batch([0, last - first], [first], [TOKENS], [2])
            rows = slice(first, last)
            own = None if given is None else given[rows]
            options = {"heads": HEADS, "scale": 0.5, "count": COUNT, "pool": pool}
            chosen, cache = reference.select_pools(
                q[rows], keys[rows], cache, batch, own, **options
            )
            parts.append(chosen)
        np.testing.assert_array_equal(np.concatenate(parts), wanted)
        np.testing.assert_array_equal(cache[2], keys[pool - 1 :: pool])


def test_of_equal_scores_the_first_are_taken_and_negative_ones_count() -> None:
    scores = np.array([[0.0, -1.0, 0.0, -0.0, -1.0, -2.0, 7.0]])
    for count, wanted in ((2, [0, 2]), (4, [0, 1, 2, 3]), (7, [0, 1, 2, 3, 4, 5, -1])):
        found = reference.choose_pools(scores, np.array([5]), count=count, pool=1)
        assert found.tolist() == [wanted]


@pytest.mark.parametrize("pool", [1, 2, 4, 8])
def test_allowed_tokens_are_those_of_the_pools_and_of_the_tail(pool: int) -> None:
    selection = by_hand(*drawn(1), pool)
    allowed = reference.selected_tokens(selection, np.arange(TOKENS), TOKENS, pool=pool)
    for t, row in enumerate(selection):
        wanted = {p * pool + i for p in row[row >= 0] for i in range(pool)}
        wanted |= set(range((t + 1) // pool * pool, t + 1))
        assert set(np.flatnonzero(allowed[t])) == wanted


@pytest.mark.parametrize("pool", [1, 4])
def test_attention_to_everything_chosen_is_dense(pool: int) -> None:
    random = np.random.default_rng(2)
    heads = LatentHeads(2, 3, 2, 4, 3, 0.5)
    operands = [random.standard_normal((9, columns)) for columns in (8, 10, 4, 2)]
    batch = reference.make_batch([0, 9], [0], [9], [0])
    all_pools = np.array(
        [[p if p < (t + 1) // pool else -1 for p in range(9 // pool)] for t in range(9)]
    )
    dense, _ = reference.attend_latents(*operands, {}, batch, heads=heads)
    chosen, _ = reference.attend_latents(*operands, {}, batch, all_pools, heads=heads, pool=pool)
    np.testing.assert_allclose(chosen, dense, rtol=1e-14)


def test_layer_norm_of_a_row_worked_by_hand() -> None:
    x, weight, bias = np.array([[1.0, 3.0]]), np.array([2.0, 4.0]), np.array([10.0, 20.0])
    found = reference.layer_norm(x, weight, bias, eps=3.0)
    np.testing.assert_allclose(found, [[10.0 - 1.0, 20.0 + 2.0]])
