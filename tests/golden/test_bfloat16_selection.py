"""Models that choose what a token reads, in bfloat16: near ties go either way, no more."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sala_compile.passes.assign_precision import Precision
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.golden.test_families import CHOOSES_TOKENS, FAR_ROWS, NEAR
from tests.support.checkpoints import open_renamed
from tests.support.compiled import GOLDEN, kernel_level_module

TIE = 0.1
"""How far scores may be apart that are a near tie, in standard deviations of a token's scores."""


class _Given:
    """Choices of the reference, replaced by those that another run made of nearly the same scores.

    `apart` are how far the worst of the one and of the other are apart, where they differ.
    """

    def __init__(self, tokens: Iterator[np.ndarray], experts: Iterator[np.ndarray]):
        self.tokens, self.experts = tokens, experts
        self.select, self.apart = reference.select_pools, list[float]()

    def select_pools(
        self, q: Any, keys: Any, cache: Any, batch: Any, weights: Any = None, **options: Any
    ) -> Any:
        """The keys of the reference, and the given selection."""
        chosen, written = self.select(q, keys, cache, batch, weights, **options)
        given = next(self.tokens)
        (part,) = batch
        queries = options["operand_rounding"](q).reshape(len(q), options["heads"], -1)
        known = written[part.slot]
        scores = reference.pool_scores(queries, known, weights, scale=options["scale"])
        for row in np.flatnonzero((given != chosen).any(axis=1)):
            count = (part.positions[row] + 1) // options["pool"]
            own, other = (scores[row, each[each >= 0]] for each in (chosen[row], given[row]))
            assert len(own) == len(other)
            self.apart.append((own.min() - other.min()) / scores[row, :count].std())
        return given, written

    def route(self, scores: Any, bias: Any, **options: Any) -> Any:
        """The given experts, and their gates by the reference's scores."""
        experts = next(self.experts)
        gates = np.take_along_axis(1 / (1 + np.exp(-scores)), experts, axis=1)
        if options["normalised"]:
            gates = gates / (gates.sum(axis=1, keepdims=True) + options["eps"])
        return experts, gates * options["scale"]


@pytest.mark.parametrize("prompt", ["p1", "p2"])
@pytest.mark.parametrize("name", CHOOSES_TOKENS)
def test_the_reference_rounded_at_the_same_points_with_the_same_choices(
    load_golden: Any, expected: Any, name: str, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = expected(name)[f"{prompt}.input_ids"]
    model = load_golden(name, Precision.BFLOAT16)
    found, observed = model.logits(ids, observe=("selected_pools", "experts"))
    tokens, experts = (
        [np.asarray(rows) for _, rows in sorted(observed[kind].items())]
        for kind in ("selected_pools", "experts")
    )
    given = _Given(iter(tokens), iter(experts))
    monkeypatch.setattr(reference, "select_pools", given.select_pools)
    monkeypatch.setattr(reference, "route", given.route)
    module = kernel_level_module(GOLDEN / name, Precision.BFLOAT16)
    with open_renamed(GOLDEN / name) as weights:
        wanted = ReferenceModel(module, weights, Rounding.ROUNDED).prefill(ids.tolist())
    assert max(given.apart, default=0.0) <= TIE
    far = np.abs(found - wanted).max(axis=1) > NEAR * wanted.std()
    assert far.mean() <= FAR_ROWS
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.02 * wanted.std()
