"""Sampling: determinism, cuts, penalties, refusals."""

import numpy as np
import pytest

from sala_compile.runtime.errors import ArtifactError, RequestError
from sala_compile.runtime.generation.sampling import Sampler, SamplingOptions, _top_k, _top_p

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


DRAWING = [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 1e-300},
    {"temperature": 1.0, "top_k": 3},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 1.0, "top_k": 5, "top_p": 0.01, "min_p": 1.0, "repetition_penalty": 3.0},
    {"temperature": 1.0, "presence_penalty": 2.0, "logit_bias": {7: -100.0}},
]


@pytest.mark.parametrize("options", DRAWING)
def test_an_infinite_logit_takes_all_probability(options: dict):
    logits = np.zeros(64, np.float32)
    logits[[3, 60]] = -np.inf
    logits[7] = np.inf
    for seed in range(20):
        assert Sampler(SamplingOptions(seed=seed, **options), 64).choose(logits) == 7


@pytest.mark.parametrize("options", DRAWING)
def test_of_several_infinite_logits_the_lowest_takes_it(options: dict):
    logits = np.full(64, -np.inf, np.float32)
    logits[[7, 9]] = np.inf
    assert set(_draws(SamplingOptions(**options), logits, 50)) == {7}


@pytest.mark.parametrize("options", DRAWING)
def test_masked_tokens_are_never_chosen(options: dict):
    logits = np.full(64, -np.inf, np.float32)
    logits[[4, 5]] = 0
    assert set(_draws(SamplingOptions(**options), logits, 50)) <= {4, 5}


@pytest.mark.parametrize("options", DRAWING)
@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_no_choice_at_all_is_an_error(options: dict, value: float):
    logits = np.full(64, -np.inf, np.float32)
    logits[63] = value
    with pytest.raises(ArtifactError):
        Sampler(SamplingOptions(**options), 64).choose(logits)


def test_min_p_keeps_what_is_probable_enough_beside_the_best():
    logits = np.log(np.array([0.5, 0.26, 0.2, 0.04], dtype=np.float32))
    drawn = _draws(SamplingOptions(temperature=1.0, min_p=0.5), logits, 300)
    assert set(drawn) == {0, 1}
    both = SamplingOptions(temperature=1.0, min_p=0.3, top_p=0.6)
    assert set(_draws(both, logits, 300)) == {0, 1}
    assert set(_draws(SamplingOptions(temperature=1.0, min_p=1.0), logits, 99)) == {0}


def test_penalties_count_the_answer_and_not_the_prompt():
    logits = np.array([2.0, 1.4, 0.0], dtype=np.float32)
    sampler = Sampler(SamplingOptions(frequency_penalty=0.5), 3)
    sampler.observe([0, 0, 0])
    assert [sampler.choose(logits) for _ in range(5)] == [0, 0, 1, 0, 1]
    sampler = Sampler(SamplingOptions(presence_penalty=0.5), 3)
    sampler.observe([0, 0, 0])
    assert [sampler.choose(logits) for _ in range(3)] == [0, 0, 0]
    sampler = Sampler(SamplingOptions(presence_penalty=0.7), 3)
    assert [sampler.choose(logits) for _ in range(4)] == [0, 1, 0, 0]
    attracted = Sampler(SamplingOptions(presence_penalty=-2.0), 3)
    assert [attracted.choose(np.array([1.0, 0.5, 0.0], np.float32)) for _ in range(2)] == [0, 0]


def test_biases_come_before_the_repetition_penalty():
    logits = np.array([1.0, -1.0], dtype=np.float32)
    assert _draws(SamplingOptions(logit_bias={1: 2.5}), logits, 1) == [1]
    sampler = Sampler(SamplingOptions(logit_bias={1: 2.5}, repetition_penalty=2.0), 2)
    sampler.observe([1])  # 1.5 / 2 < 1, and -1 * 2 + 2.5 would be 0.5
    assert sampler.choose(logits) == 0
    with pytest.raises(RequestError, match="logit_bias has the token 2"):
        Sampler(SamplingOptions(logit_bias={2: 1.0}), 2)


def test_what_needs_the_host_says_so():
    alone = [{}, {"temperature": 1.0, "top_p": 0.5, "top_k": 3}, {"min_p": 0.5}, {"logit_bias": {}}]
    alone += [{"min_p": 0.5, "temperature": 1.0}]
    host = [{"logit_bias": {0: 1}}, {"presence_penalty": 1}, {"frequency_penalty": 1}]
    assert not any(Sampler(SamplingOptions(**options), 2).needs_texts for options in alone)
    assert all(Sampler(SamplingOptions(**options), 2).needs_texts for options in host)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", True),
        ("temperature", 10**400),
        ("temperature", np.array([1.0])),
        ("temperature", 1j),
        ("temperature", np.complex64(1)),
        ("top_k", 10**6000 * -1),
        ("top_k", "3"),
        ("seed", 10**6000 * -1),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", None),
        ("presence_penalty", 2.1),
        ("frequency_penalty", "x"),
        ("frequency_penalty", float("nan")),
        ("logit_bias", {"1": 1.0}),
        ("logit_bias", {1: 101}),
        ("logit_bias", {1: float("inf")}),
        ("logit_bias", {-1: 1}),
        ("logit_bias", {True: 1}),
        ("logit_bias", [1, 2]),
        ("logit_bias", 5),
        ("logit_bias", {1: None}),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_values_of_the_wrong_kind_are_refused_by_name(name: str, value: object):
    with pytest.raises(RequestError) as caught:
        SamplingOptions(**{name: value})
    assert name in str(caught.value)
    assert "expected" in str(caught.value)


def test_numbers_of_numpy_and_huge_seeds_are_taken():
    options = SamplingOptions(np.float32(0.5), np.float64(1), np.int32(3), seed=2**200)
    assert Sampler(options, 4).choose(np.zeros(4, np.float32)) in range(3)
    assert hash(options) == hash(SamplingOptions(0.5, 1, 3, seed=2**200))
