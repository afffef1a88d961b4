"""Mixtures of experts: the choice of experts, and the products of those that are chosen."""

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from sala_compile.sala_ir.reference.arrays import Array
from sala_compile.sala_ir.reference.gates import sigmoid, squared_relu, swiglu

ReadExpert = Callable[[int], Array]
"""The rows of an expert's weight, by its number."""


def route(
    scores: Array,
    bias: Array | None = None,
    *,
    function: str,
    chosen: int,
    groups: int = 1,
    chosen_groups: int = 1,
    normalised: bool = True,
    eps: float = 0.0,
    scale: float = 1.0,
) -> tuple[Any, Array]:
    """Numbers of the `chosen` experts, int32 ascending, and their gates, [tokens, chosen] each.

    scores [tokens, E]. p = softmax(scores) or sigmoid(scores), c = p + bias. The experts are in
    `groups` of neighbours, of which those `chosen_groups` are taken whose two largest c have the
    largest sum; in them the largest c are chosen. Of equal values the first counts as larger.
    """
    xp = array_namespace(scores)
    if function == "softmax":
        raised = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
        weights = raised / xp.sum(raised, axis=1, keepdims=True)
    else:
        weights = sigmoid(scores)
    # What the softmax cannot tell apart, the scores can.
    plain = scores if function == "softmax" else weights
    ranked = plain if bias is None else weights + bias
    experts = xp.sort(_largest(_in_groups(ranked, groups, chosen_groups), chosen), axis=1)
    gates = xp.take_along_axis(weights, experts, axis=1)
    if normalised:
        gates = gates / (xp.sum(gates, axis=1, keepdims=True) + eps)
    return xp.astype(experts, xp.int32), gates * scale


def _in_groups(values: Array, groups: int, chosen: int) -> Array:
    """The values, those outside the chosen groups minus infinity."""
    if groups == chosen:
        return values
    xp = array_namespace(values)
    grouped = xp.reshape(values, (values.shape[0], groups, values.shape[1] // groups))
    best = xp.sum(xp.sort(grouped, axis=2)[:, :, -2:], axis=2)
    kept = xp.any(_largest(best, chosen)[:, :, None] == xp.arange(groups), axis=1)
    return xp.reshape(xp.where(kept[:, :, None], grouped, -xp.inf), values.shape)


def _largest(values: Array, count: int) -> Array:
    """The places of the largest values of every row, the first of equal ones first."""
    xp = array_namespace(values)
    return xp.argsort(-values, axis=1, stable=True)[:, :count]


def expert_up(
    x: Array,
    experts: Any,
    up: ReadExpert,
    gate: ReadExpert | None = None,
    *,
    activation: str,
    limit: float = 0.0,
) -> Array:
    """act(W_e x) for every chosen expert e of a row, [tokens, chosen * R], in their order.

    x [tokens, K], W_e [R, K]. "swiglu": silu(gate) * up, "squared_relu": max(up, 0)^2. With a
    `limit` the gate is at most that, and up within it on both sides.
    """

    def product(rows: Array, expert: int) -> Array:
        xp = array_namespace(x)
        inner = rows @ xp.matrix_transpose(up(expert))
        if activation == "squared_relu":
            return squared_relu(inner)
        assert gate is not None, "SwiGLU has a gate"
        gated = rows @ xp.matrix_transpose(gate(expert))
        return swiglu(gated, inner, limit=limit)

    return _by_expert(experts, lambda rows, slot: x[rows, :], product, x)


def expert_down(x: Array, experts: Any, gates: Array, weight: ReadExpert, *, width: int) -> Array:
    """The sum of gates_j W_e x_j over the chosen experts e of a row, in their order.

    x [tokens, chosen * width], W_e [H, I], of which the first I columns of x_j are read.
    """
    xp = array_namespace(x)

    def part(rows: Any, slot: int) -> Array:
        return x[rows, slot * width : (slot + 1) * width]

    def product(rows: Array, expert: int) -> Array:
        matrix = weight(expert)
        return rows[:, : matrix.shape[1]] @ xp.matrix_transpose(matrix)

    chosen = np.asarray(experts).shape[1]
    parts = _by_expert(experts, part, product, x)
    columns = parts.shape[1] // chosen
    total = gates[:, :1] * parts[:, :columns]
    for slot in range(1, chosen):
        place = slice(slot * columns, (slot + 1) * columns)
        total = total + gates[:, slot : slot + 1] * parts[:, place]
    return total


def _by_expert(
    experts: Any,
    rows_of: Callable[[Any, int], Array],
    product: Callable[[Array, int], Array],
    like: Array,
) -> Array:
    """`product` of every row with each of its experts, side by side; an expert is read once."""
    xp = array_namespace(like)
    ids = np.asarray(experts)
    tokens, chosen = ids.shape
    places: dict[tuple[int, int], Array] = {}
    for expert in np.unique(ids) if tokens else [0]:
        found = [(row, slot) for row, slot in np.argwhere(ids == expert).tolist()]
        if not found:  # no rows: only the shape
            empty = product(rows_of([], 0), int(expert))
            return xp.concat([empty] * chosen, axis=1)
        rows = xp.concat([rows_of([row], slot) for row, slot in found], axis=0)
        for place, value in zip(found, product(rows, int(expert)), strict=True):
            places[(place[0], place[1])] = value
    return xp.stack(
        [xp.concat([places[row, slot] for slot in range(chosen)], axis=0) for row in range(tokens)],
        axis=0,
    )
