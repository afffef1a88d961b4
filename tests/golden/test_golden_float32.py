"""float32 against the stored float64 outputs: logits, greedy tokens, selected blocks."""

import json

import numpy as np
import pytest

from tests.golden.conftest import NAMES
from tests.support.compiled import GOLDEN

CHUNKS = (1, 7, 64, None)
PROMPTS = ("p0", "p1")
LIMIT = 1e-3

pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prefill_logits_at_all_positions(load_golden, expected, name, prompt, chunk):
    golden = expected(name)
    found = load_golden(name).logits(golden[f"{prompt}.input_ids"], chunk=chunk)
    np.testing.assert_allclose(found, golden[f"{prompt}.prefill_logits"], rtol=0, atol=LIMIT)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_decode_logits(load_golden, expected, name, prompt):
    golden, model = expected(name), load_golden(name)
    greedy = golden[f"{prompt}.greedy_ids"]
    with model.sequence() as sequence:
        rows = [sequence.append(golden[f"{prompt}.input_ids"])]
        rows += [sequence.append([int(token)]) for token in greedy[:-1]]
    found = np.stack(rows)
    np.testing.assert_allclose(found, golden[f"{prompt}.decode_logits"], rtol=0, atol=LIMIT)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_tokens(load_golden, expected, name, prompt):
    golden = expected(name)
    ids = golden[f"{prompt}.input_ids"]
    found = load_golden(name).generate(ids, max_new_tokens=32, ignore_eos=True)
    assert found == golden[f"{prompt}.greedy_ids"].tolist()


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_recomputed_text_takes_the_regime_of_its_whole_length(
    load_golden, expected, name, prompt
):
    golden = expected(name)
    greedy = golden[f"{prompt}.greedy_ids_recompute"]
    text = np.concatenate([golden[f"{prompt}.input_ids"], greedy[:-1]])
    found = load_golden(name).logits(text)
    wanted = golden[f"{prompt}.recompute_last_logits"]
    np.testing.assert_allclose(found[-1], wanted, rtol=0, atol=LIMIT)
    assert found[len(text) - len(greedy) :].argmax(axis=1).tolist()[-1] == greedy[-1]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_selected_blocks(load_golden, expected, name, prompt, chunk):
    """Of the prompt and its continuation, where one regime holds for both."""
    golden = expected(name)
    ids = golden[f"{prompt}.input_ids"]
    is_sparse = len(ids) >= _sparse_config(name)["dense_len"]
    text = np.concatenate([ids, golden[f"{prompt}.greedy_ids"]]) if is_sparse else ids
    _, observed = load_golden(name).logits(text, chunk=chunk, observe=("selected_blocks",))
    selected = observed["selected_blocks"]
    if not is_sparse:
        assert all((layer["counts"] == -1).all() for layer in selected.values())
        return
    stored = golden[f"{prompt}.selected_blocks"]
    for wanted, layer in zip(stored, sorted(selected), strict=True):
        found = _as_mask(selected[layer]["blocks"], wanted.shape[-1])
        np.testing.assert_array_equal(found, wanted.transpose(1, 0, 2))


def test_hidden_states_after_every_layer(load_golden, expected, name):
    """At the last positions of p0 and its continuation: one regime holds for both."""
    golden, prompt = expected(name), "p0"
    text = np.concatenate([golden[f"{prompt}.input_ids"], golden[f"{prompt}.greedy_ids"]])
    _, observed = load_golden(name).logits(text, observe=("hidden",))
    layers = sorted(observed["hidden"], key=lambda layer: -1 if layer is None else layer)
    found = np.stack([observed["hidden"][layer][-8:] for layer in layers])
    wanted = golden[f"{prompt}.hidden_last8"]
    scale = np.abs(wanted).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found[..., : wanted.shape[-1]] / scale, wanted / scale, atol=1e-4)


def _sparse_config(name: str) -> dict[str, int]:
    return json.loads((GOLDEN / name / "config.json").read_text())["sparse_config"]


def _as_mask(blocks: np.ndarray, count: int) -> np.ndarray:
    """Block indices [tokens, kv heads, budget], -1 where unused -> 0 or 1 for each block."""
    mask = np.zeros((*blocks.shape[:2], count + 1), np.uint8)
    np.put_along_axis(mask, np.where(blocks < 0, count, blocks), 1, axis=-1)
    return mask[..., :count]
