"""The same bits for a sequence alone and in any batch, again, and on any number of threads."""

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.model import Model
from tests.support.sequences import step

LENGTHS = (5, 61, 140, 200)
"""Dense, about to turn sparse (at 64 tokens), sparse, and sparse beyond the budget."""
STEPS = 8

PRECISIONS = pytest.mark.parametrize("dtype", list(Precision))


def _prompts(vocabulary: int) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.integers(0, vocabulary, length) for length in LENGTHS]


def _alone(model: Model, prompt: np.ndarray) -> np.ndarray:
    """The logits after a prompt and after each of the greedy tokens that follow."""
    with model.sequence() as sequence:
        rows = [sequence.append(prompt).copy()]
        for _ in range(STEPS):
            rows.append(sequence.append([int(rows[-1].argmax())]).copy())
    return np.stack(rows)


def _together(model: Model, prompts: list[np.ndarray]) -> list[np.ndarray]:
    sequences = [model.sequence() for _ in prompts]
    rows = [[s.append(prompt).copy()] for s, prompt in zip(sequences, prompts, strict=True)]
    for _ in range(STEPS):
        logits = model.decode(sequences, [int(found[-1].argmax()) for found in rows])
        for found, row in zip(rows, logits, strict=True):
            found.append(row.copy())
    for sequence in sequences:
        sequence.close()
    return [np.stack(found) for found in rows]


@PRECISIONS
def test_a_batch_of_unequal_lengths_decodes_what_each_decodes_alone(load_golden, dtype):
    model = load_golden("sala-tiny-a", dtype)
    prompts = _prompts(model.vocabulary)
    alone = [_alone(model, prompt) for prompt in prompts]
    for count in (2, 4):
        for found, wanted in zip(_together(model, prompts[:count]), alone, strict=False):
            np.testing.assert_array_equal(found, wanted)


@PRECISIONS
def test_prompts_in_one_step_give_what_each_gives_alone(load_golden, dtype):
    model = load_golden("sala-tiny-a", dtype)
    prompts = _prompts(model.vocabulary)
    sequences = [model.sequence() for _ in prompts]
    together = step(model, sequences, prompts)
    for sequence in sequences:
        sequence.close()
    for prompt, found in zip(prompts, together, strict=True):
        np.testing.assert_array_equal(found, model.logits(prompt)[-1])


@PRECISIONS
def test_decoding_goes_on_beside_a_prefill(load_golden, dtype):
    model = load_golden("sala-tiny-a", dtype)
    short, *_, long = _prompts(model.vocabulary)
    wanted = _alone(model, long)[1]
    with model.sequence() as one, model.sequence() as other:
        token = int(one.append(long).argmax())
        found = step(model, [other, one], [short, [token]])
    np.testing.assert_array_equal(found[1], wanted)
    np.testing.assert_array_equal(found[0], model.logits(short)[-1])


@PRECISIONS
def test_again_and_on_any_number_of_threads(load_golden, dtype):
    model = load_golden("sala-tiny-a", dtype)
    prompt = _prompts(model.vocabulary)[-1]
    wanted = model.logits(prompt), _alone(model, prompt)
    np.testing.assert_array_equal(model.logits(prompt), wanted[0])
    for threads in (1, 2, 3, 5):
        path = model.artifact.directory
        with sala_compile.load(path, context=512, chunk=512, threads=threads) as other:
            np.testing.assert_array_equal(other.logits(prompt), wanted[0])
            np.testing.assert_array_equal(_alone(other, prompt), wanted[1])
