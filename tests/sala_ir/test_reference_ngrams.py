"""Hashed n-grams against whole numbers of Python, over cuts; products of streams; taps apart."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sala_compile.sala_ir import reference
from tests.support.ngrams import rows_by_hand

MULTIPLIERS, SIZES, END = (2**63 - 1, 2**62 + 3, 5), (53, 59, 61, 67), 2


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_of_whole_numbers_however_a_text_is_cut(seed: int) -> None:
    random = np.random.default_rng(seed)
    text = np.where(random.random(40) < 0.3, END, random.integers(0, 2**31 - 1, 40))
    text = text.astype(np.int32)
    wanted = rows_by_hand(text.tolist(), MULTIPLIERS, SIZES, END)
    cuts = [0, *sorted(random.choice(np.arange(1, 40), 5, replace=False).tolist()), 40]
    window: Any = {}
    for first, last in pairwise(cuts):
        batch = reference.make_batch([0, last - first], [first], [40], [3])
        rows, window = reference.ngram_rows(
            text[first:last], window, batch, multipliers=MULTIPLIERS, sizes=SIZES, end=END
        )
        assert rows.tolist() == wanted[first:last]
        assert window[3].tolist() == [0, 0, *text[:last]][-2:]


def test_rows_of_a_table_are_side_by_side() -> None:
    table = np.arange(12.0).reshape(4, 3)
    found = reference.ngram_embedding(np.array([[2, 0], [1, 1]]), table)
    assert found.tolist() == [[6, 7, 8, 0, 1, 2], [3, 4, 5, 3, 4, 5]]


def test_products_of_streams_keep_their_sign() -> None:
    key = np.array([[3.0, 1.0, 0.0, 2.0, 0.0, 0.0]])
    query = np.array([[2.0, -2.0, 5.0, -8.0, 1.0, 1.0]])
    found = reference.score_streams(key, query, streams=3, scale=0.25, least=1e-6)
    assert found.tolist() == [[1.0, -2.0, 0.0]]
    small = reference.score_streams(key * 1e-9, query, streams=3, scale=0.25, least=1e-6)
    np.testing.assert_allclose(small, [[1e-3, -1e-3, 0.0]], rtol=1e-12)


def test_a_convolution_with_taps_apart() -> None:
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((11, 3)), random.standard_normal((3, 3))
    known = np.concatenate([np.zeros((4, 3)), x])
    total = np.array([sum(weight[j] * known[t + 2 * j] for j in range(3)) for t in range(11)])
    window: Any = {}
    outs = []
    for first, last in ((0, 1), (1, 7), (7, 11)):
        batch = reference.make_batch([0, last - first], [first], [11], [0])
        out, window = reference.short_convolution(x[first:last], window, batch, weight, dilation=2)
        outs.append(out)
    np.testing.assert_allclose(np.concatenate(outs), total / (1 + np.exp(-total)), rtol=1e-12)
    np.testing.assert_array_equal(window[0], x[-4:])
