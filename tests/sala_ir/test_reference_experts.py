"""Routers and experts of the reference, against numbers worked by hand."""

from typing import Any

import numpy as np
import pytest

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.reference.gates import sigmoid, silu


def chosen_of(scores: list[list[float]], bias: list[float] | None = None, **own: Any):
    """Experts and gates of rows of scores."""
    given = {"function": "sigmoid", "chosen": 2} | own
    vector = None if bias is None else np.asarray(bias)
    experts, gates = reference.route(np.asarray(scores), vector, **given)
    return experts.tolist(), gates


def test_softmax_takes_the_largest_and_divides_by_their_sum() -> None:
    scores = np.log([[1.0, 4.0, 2.0, 3.0]]).tolist()
    experts, gates = chosen_of(scores, function="softmax")
    assert experts == [[1, 3]]
    np.testing.assert_allclose(gates, [[4 / 7, 3 / 7]], rtol=1e-12)
    _, gates = chosen_of(scores, function="softmax", normalised=False, scale=5.0)
    np.testing.assert_allclose(gates, [[2.0, 1.5]], rtol=1e-12)


def test_the_bias_decides_who_is_chosen_and_nothing_else() -> None:
    scores, bias = [[0.0, 1.0, 2.0, 3.0]], [5.0, 0.0, 0.0, 0.0]
    experts, gates = chosen_of(scores, bias, scale=2.5, eps=1e-20)
    assert experts == [[0, 3]]
    plain = sigmoid(np.asarray([0.0, 3.0]))
    np.testing.assert_allclose(gates[0], 2.5 * plain / plain.sum(), rtol=1e-12)


def test_a_group_is_worth_its_two_largest() -> None:
    """The largest of all is alone in its group, and not taken."""
    scores = [[9.0, -9.0, -9.0, 1.0, 1.5, -9.0, 0.5, 0.7, 0.6]]
    experts, _ = chosen_of(scores, groups=3, chosen_groups=2)
    assert experts == [[3, 4]] or experts == [[0, 4]]
    worth = sigmoid(np.asarray(scores)).reshape(3, 3)
    best = np.sort(worth, axis=1)[:, -2:].sum(axis=1)
    kept = set(np.argsort(-best)[:2].tolist())
    allowed = [place for place in np.argsort(-np.asarray(scores[0])) if place // 3 in kept]
    assert experts == [sorted(allowed[:2])]


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_of_equal_experts_the_first_are_chosen(function: str) -> None:
    assert chosen_of([[1.0, 2.0, 1.0, 1.0]], function=function, chosen=3)[0] == [[0, 1, 2]]
    groups = {"groups": 3, "chosen_groups": 1}
    assert chosen_of([[1.0] * 6], function=function, **groups)[0] == [[0, 1]]


def test_products_of_each_chosen_expert_side_by_side() -> None:
    random = np.random.default_rng(0)
    x, ids = random.standard_normal((3, 5)), np.asarray([[0, 2], [1, 2], [0, 1]])
    gates, weights = random.standard_normal((3, 2)), random.standard_normal((3, 3, 4, 5))
    gate, up, down = weights.transpose(1, 0, 2, 3)
    inner = reference.expert_up(x, ids, up.__getitem__, gate.__getitem__, activation="swiglu")
    assert inner.shape == (3, 8)
    wanted = silu(gate[2] @ x[1]) * (up[2] @ x[1])
    np.testing.assert_allclose(inner[1, 4:], wanted, rtol=1e-12)
    squared = reference.expert_up(x, ids, up.__getitem__, activation="squared_relu")
    np.testing.assert_allclose(squared[2, :4], np.maximum(up[0] @ x[2], 0) ** 2, rtol=1e-12)
    turned = np.swapaxes(down, 1, 2)
    y = reference.expert_down(inner, ids, gates, turned.__getitem__, width=4)
    parts = inner.reshape(3, 2, 4)
    for row in range(3):
        sums = [gates[row, j] * (turned[ids[row, j]] @ parts[row, j]) for j in range(2)]
        np.testing.assert_allclose(y[row], sums[0] + sums[1], rtol=1e-12)


def test_limits_are_of_the_gate_above_and_of_up_on_both_sides() -> None:
    x, one = np.asarray([[3.0], [-3.0]]), np.ones((1, 1))
    ids = np.zeros((2, 1), np.int64)
    found = reference.expert_up(
        x, ids, lambda e: one, lambda e: one, activation="swiglu", limit=2.0
    )
    np.testing.assert_allclose(
        found, silu(np.asarray([[2.0], [-3.0]])) * [[2.0], [-2.0]], rtol=1e-12
    )


def test_no_tokens_give_no_rows() -> None:
    none = np.zeros((0, 2), np.int64)
    up = reference.expert_up(
        np.zeros((0, 5)), none, lambda e: np.ones((4, 5)), activation="squared_relu"
    )
    assert up.shape == (0, 8)


def test_a_gate_for_each_head() -> None:
    x, gate = np.ones((1, 6)), np.asarray([[0.0, 100.0]])
    np.testing.assert_allclose(reference.output_gate(x, gate), [[0.5] * 3 + [1.0] * 3])
