"""The choice of experts against the float64 reference."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.route.cpu import FAMILY
from sala_compile.codegen.kernels.route.spec import Spec
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.dialect.expert_kinds import ScoreFunction
from sala_compile.sala_ir.reference import route
from tests.support.steps import EXTRA, Library, aligned, padded, poisoned

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
SOFTMAX, SIGMOID = ScoreFunction.SOFTMAX, ScoreFunction.SIGMOID
TOKENS = (0, 1, 3, 40)


def spec_of(
    experts: int,
    chosen: int,
    function: ScoreFunction,
    *,
    groups: tuple[int, int] = (1, 1),
    bias: bool = False,
    normalised: bool = True,
    eps: float = 0.0,
    scale: float = 1.0,
    start: int = 0,
) -> Spec:
    """A spec whose scores are columns from `start` on."""
    own = (normalised, eps, scale, start, padded(experts + start))
    return Spec(experts, chosen, function, bias, *groups, *own)


SPECS = (
    spec_of(8, 2, SOFTMAX),
    spec_of(512, 10, SOFTMAX, start=5),
    spec_of(37, 37, SOFTMAX, normalised=False, scale=2.5),
    spec_of(1, 1, SOFTMAX),
    spec_of(19, 3, SOFTMAX, bias=True),
    spec_of(64, 6, SIGMOID, groups=(8, 4), bias=True, eps=1e-20, scale=2.446),
    spec_of(30, 4, SIGMOID, groups=(5, 2), bias=True, eps=1e-20),
    spec_of(256, 8, SIGMOID, bias=True, normalised=False),
    spec_of(20, 3, SIGMOID, groups=(2, 1), eps=1e-20),
)


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    return Library([FAMILY.build(spec, target) for spec in SPECS], target)


def run(
    spec: Spec, scores: np.ndarray, bias: np.ndarray | None, target: CpuTarget, workers: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """What the kernel gives for rows of scores; all else is poisoned."""
    rows = len(scores)
    control = np.zeros(16, np.int32)
    control[0], control[3] = rows, workers
    given = poisoned(rows + EXTRA, spec.scores_pitch)
    given[:rows, spec.scores_start : spec.scores_start + spec.experts] = scores
    weights = []
    if bias is not None:
        weights = [aligned(np.zeros(padded(spec.experts), np.float32))]
        weights[0][: spec.experts] = bias
    experts = poisoned(rows + EXTRA, spec.chosen, dtype=np.int32)
    gates = poisoned(rows + EXTRA, padded(spec.chosen))
    (space,) = FAMILY.workspaces(spec, None)
    worth = poisoned(workers, space.elements)
    library(target).call(spec.symbol, aligned(control), given, *weights, experts, gates, worth)
    assert (experts[rows:] == -1).all()
    assert np.isnan(gates[rows:]).all()
    assert (gates[:rows, spec.chosen :] == 0).all()
    return experts[:rows], gates[:rows, : spec.chosen]


def expected(spec: Spec, scores: np.ndarray, bias: np.ndarray | None):
    """The reference's choice, in float64."""
    return route(
        scores.astype(np.float64),
        None if bias is None else bias.astype(np.float64),
        function=spec.function,
        chosen=spec.chosen,
        groups=spec.groups,
        chosen_groups=spec.chosen_groups,
        normalised=spec.normalised,
        eps=spec.eps,
        scale=spec.scale,
    )


@pytest.mark.parametrize("target", [HOST, PORTABLE], ids=lambda target: target.name)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_equals_reference(spec: Spec, target: CpuTarget) -> None:
    random = np.random.default_rng(1)
    for tokens in TOKENS:
        scores = (3 * random.standard_normal((tokens, spec.experts))).astype(np.float32)
        bias = random.standard_normal(spec.experts).astype(np.float32) if spec.bias else None
        experts, gates = run(spec, scores, bias, target)
        ids, weights = expected(spec, scores, bias)
        assert np.array_equal(experts, ids)
        assert np.allclose(gates, weights, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_of_equal_scores_the_first_are_chosen(spec: Spec) -> None:
    """Scores of a few values, so that most experts, and groups, are equal to others."""
    random = np.random.default_rng(2)
    scores = random.integers(-1, 2, (60, spec.experts)).astype(np.float32)
    scores[0] = 0
    bias = np.zeros(spec.experts, np.float32) if spec.bias else None
    experts, _ = run(spec, scores, bias, HOST)
    # Softmax of equal scores differs in no bit; the reference ranks the scores themselves.
    ids, _ = expected(spec, scores, bias)
    assert np.array_equal(experts, ids)
    if spec.groups == 1:
        assert experts[0].tolist() == list(range(spec.chosen))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.symbol)
def test_a_row_has_the_same_bits_in_any_batch(spec: Spec) -> None:
    random = np.random.default_rng(3)
    scores = random.standard_normal((70, spec.experts)).astype(np.float32)
    bias = random.standard_normal(spec.experts).astype(np.float32) if spec.bias else None
    experts, gates = run(spec, scores, bias, HOST, workers=3)
    for row in (0, 33, 69):
        own, factors = run(spec, scores[row : row + 1], bias, HOST, workers=1)
        assert np.array_equal(own[0], experts[row])
        assert np.array_equal(factors[0], gates[row])


def test_scores_that_are_no_numbers_choose_some_expert() -> None:
    """So that what follows reads weights of the model; the gates say that something is wrong."""
    for spec in SPECS:
        scores = np.full((2, spec.experts), np.nan, np.float32)
        bias = np.zeros(spec.experts, np.float32) if spec.bias else None
        experts, gates = run(spec, scores, bias, HOST)
        assert ((experts >= 0) & (experts < spec.experts)).all()
        assert np.isnan(gates).all()
