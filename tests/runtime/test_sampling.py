"""Sampling: determinism, cuts, penalties, refusals."""

import numpy as np
import pytest

from runtime.errors import ArtifactError, RequestError
from runtime.sampling import Sampler, SamplingOptions, _top_k, _top_p

VOCABULARY = 73448


def _logits(seed: int = 0, size: int = VOCABULARY) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32) * 3


def _draws(options: SamplingOptions, logits: np.ndarray, count: int) -> list[int]:
    sampler = Sampler(options, len(logits))
    return [sampler.choose(logits) for _ in range(count)]


def test_greedy_takes_the_lowest_of_equal_logits():
    logits = np.array([0, 3, 1, 3], dtype=np.float32)
    assert _draws(SamplingOptions(), logits, 2) == [1, 1]


def test_equal_seeds_draw_equal_tokens_and_other_seeds_others():
    options = {"temperature": 1.0, "top_p": 0.9, "top_k": 1000}
    first = _draws(SamplingOptions(seed=7, **options), _logits(), 20)
    assert first == _draws(SamplingOptions(seed=7, **options), _logits(), 20)
    assert first != _draws(SamplingOptions(seed=8, **options), _logits(), 20)


def test_draws_follow_the_softmax():
    logits = np.log(np.array([0.5, 0.3, 0.2, 1e-9], dtype=np.float32))
    counts = np.bincount(_draws(SamplingOptions(temperature=1.0), logits, 4000), minlength=4)
    assert np.allclose(counts / 4000, [0.5, 0.3, 0.2, 0], atol=0.03)


def test_temperature_sharpens():
    logits = np.array([1.0, 0.0], dtype=np.float32)
    cold = _draws(SamplingOptions(temperature=0.05), logits, 200)
    assert set(cold) == {0}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9])
def test_top_k_keeps_the_lowest_ids_of_equal_logits(count: int):
    logits = np.array([5, 1, 5, 2, 5, 2, 9, 0], dtype=np.float32)
    ranked = sorted(range(8), key=lambda i: (-logits[i], i))
    assert _top_k(logits, count).tolist() == sorted(ranked[:count])


@pytest.mark.parametrize("share", [1e-6, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("size", [1, 2, 17, 5000])
def test_top_p_keeps_the_smallest_sufficient_set(share: float, size: int):
    weights = np.exp(_logits(3, size).astype(np.float64))
    kept, kept_weights = _top_p(np.arange(size), weights, share)
    ranked = np.argsort(-weights, kind="stable")
    enough = int(np.argmax(np.cumsum(weights[ranked]) >= share * weights.sum())) + 1
    assert kept.tolist() == sorted(ranked[:enough].tolist())
    assert np.array_equal(kept_weights, weights[kept])


def test_repetition_penalty_reaches_seen_tokens_of_both_signs():
    logits = np.array([2.0, 1.9, -1.0], dtype=np.float32)
    sampler = Sampler(SamplingOptions(repetition_penalty=2.0), 3)
    sampler.observe([0])
    assert sampler.choose(logits) == 1
    negative = np.array([-1.0, -1.5, -9.0], dtype=np.float32)
    assert sampler.choose(negative) == 0  # -1 * 2 > -1.5 * 2 > -9


def test_the_answer_itself_is_penalised():
    logits = np.array([2.0, 1.5, 0.5], dtype=np.float32)
    assert _draws(SamplingOptions(repetition_penalty=1.5), logits, 3) == [0, 1, 0]


def test_the_smallest_temperature_takes_the_most_likely():
    logits = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    with np.errstate(all="raise"):
        assert _draws(SamplingOptions(temperature=5e-324), logits, 3) == [1, 1, 1]


@pytest.mark.parametrize("penalty", [0.001, 1000.0])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_strongest_penalties_stay_numbers(penalty: float, temperature: float):
    options = SamplingOptions(repetition_penalty=penalty, temperature=temperature)
    sampler = Sampler(options, 3)
    sampler.observe([0, 1])
    assert sampler.choose(np.array([1e4, -1e4, 0], dtype=np.float32)) in (0, 2)


def test_not_a_number_is_reported():
    with pytest.raises(ArtifactError, match="not a number"):
        Sampler(SamplingOptions(), 2).choose(np.array([0, np.nan], dtype=np.float32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_k", -1),
        ("top_k", 1.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("inf")),
        ("repetition_penalty", 1e300),
        ("temperature", "warm"),
        ("top_p", None),
        ("seed", -1),
        ("seed", True),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: object):
    with pytest.raises(RequestError) as caught:
        SamplingOptions(**{name: value})
    assert name in str(caught.value)
    assert "expected" in str(caught.value)
