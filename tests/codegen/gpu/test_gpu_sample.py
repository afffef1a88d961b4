"""Tokens chosen on a GPU: those that the host's sampler chooses."""

from collections.abc import Sequence

import numpy as np
import pytest

from codegen.kernels.operands import padded
from codegen.kernels.sample.gpu import Schedule, Spec, build
from codegen.targets.cuda import CudaTarget
from runtime.sampling import Sampler, SamplingOptions
from tests.support.interpreted import run

TARGET = CudaTarget(90)

OPTIONS = (
    SamplingOptions(),
    SamplingOptions(temperature=1.0, seed=1),
    SamplingOptions(temperature=0.7, top_k=5, seed=2),
    SamplingOptions(temperature=1.3, top_p=0.6, seed=3),
    SamplingOptions(temperature=0.9, top_k=40, top_p=0.9, seed=4),
    SamplingOptions(temperature=1e-6, seed=5),
    SamplingOptions(temperature=50.0, top_p=0.999, seed=6),
    SamplingOptions(temperature=1.0, top_k=1, seed=7),
    SamplingOptions(temperature=1.0, top_k=10**6, seed=8),
    SamplingOptions(temperature=0.5, top_p=1e-6, seed=9),
)


def chosen(logits: np.ndarray, options: Sequence[SamplingOptions], spare: int = 2) -> np.ndarray:
    """The tokens of rows of logits by the kernel, in a grid of a larger bucket."""
    rows, vocabulary = logits.shape
    control = np.zeros(16, np.int32)
    control[2] = rows
    draws = np.full((rows + spare, 4), 0x7F7F7F7F, np.int32)
    draws[:rows] = [Sampler(each, vocabulary).draw().words() for each in options]
    held = np.full((rows + spare, padded(vocabulary)), np.nan, np.float32)
    held[:rows, :vocabulary] = logits
    buffers = {"control": control, "draws": draws, "logits": held}
    buffers["tokens"] = np.full(rows + spare, -7, np.int32)
    kernel = build(Spec(vocabulary), TARGET, Schedule(block=128))
    run(kernel, buffers, {"logit_rows": rows + spare})
    assert (buffers["tokens"][rows:] == -7).all()
    return buffers["tokens"][:rows]


def by_host(logits: np.ndarray, options: Sequence[SamplingOptions]) -> list[int]:
    """The same by the host."""
    vocabulary = logits.shape[1]
    pairs = zip(logits, options, strict=True)
    return [Sampler(each, vocabulary).choose(row) for row, each in pairs]


@pytest.mark.parametrize(("vocabulary", "options"), [(3, OPTIONS[:4]), (200, OPTIONS)])
def test_the_host_chooses_the_same(vocabulary: int, options: tuple[SamplingOptions, ...]):
    random = np.random.default_rng(vocabulary)
    logits = (3 * random.standard_normal((len(options), vocabulary))).astype(np.float32)
    assert chosen(logits, options).tolist() == by_host(logits, options)


def test_equal_logits_are_taken_by_their_ids():
    random = np.random.default_rng(0)
    options = OPTIONS[:5]
    logits = random.integers(-1, 2, (len(options), 150)).astype(np.float32)
    logits[logits == 0] *= np.where(random.random((logits == 0).sum()) < 0.5, -1, 1)
    assert chosen(logits, options).tolist() == by_host(logits, options)


def test_a_row_without_a_number_has_no_token():
    logits = np.zeros((3, 70), np.float32)
    logits[1, 69] = np.nan
    options = [OPTIONS[0], OPTIONS[1], OPTIONS[3]]
    assert chosen(logits, options)[1] == -1
    logits[1, 69] = 0
    assert chosen(logits, options).tolist() == by_host(logits, options)


def test_every_share_of_the_numbers_draws_its_tokens():
    """The tokens of many uniform numbers, kept in number as in the host's choice."""
    logits = np.log(np.array([[0.05, 0.4, 0.1, 0.4, 0.05]], np.float32)).repeat(5, 0)
    options = [SamplingOptions(temperature=1.0, top_p=0.7, seed=seed) for seed in range(5)]
    tokens = chosen(logits, options)
    assert set(tokens.tolist()) == {1, 3}
    assert tokens.tolist() == by_host(logits, options)
