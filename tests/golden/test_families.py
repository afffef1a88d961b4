"""Families on the kit against expected outputs: logits, tokens, hidden states, blocks, bits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.passes.assign_precision import Precision
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.support.checkpoints import open_renamed, reference_model
from tests.support.compiled import GOLDEN, compile_checkpoint, kernel_level_module
from tests.support.emulated_gpu import emulated_code, emulated_gpu
from tests.support.sequences import assert_bits_stay

PROMPTS = {
    "llama-tied-a": ("p0", "p1", "p2"),
    "llama-llama3-a": ("p0", "p1", "p2"),
    "qwen3-a": ("p0", "p1", "p2"),
    "minicpm-a": ("p0", "p1", "p2", "p3"),
    "minicpm-nope": ("p0", "p1", "p2", "p3"),
    "hypenet-a": ("p0", "p1", "p2", "p3"),
    "olmo_hybrid-a": ("p0", "p1", "p2"),
    "falcon_h1-a": ("p0", "p1", "p2"),
    "minicpm3-a": ("p0", "p1", "p2"),
    "qwen3_next-a": ("p0", "p1", "p2"),
    "kimi_linear-a": ("p0", "p1", "p2"),
    "bailing_hybrid-a": ("p0", "p1", "p2"),
    "minimax-a": ("p0", "p1", "p2"),
    "nemotron_h-a": ("p0", "p1", "p2"),
    "glm5_next-a": ("p0", "p1", "p2"),
    "deepseek_v32-a": ("p0", "p1", "p2"),
    "glm_moe_dsa-a": ("p0", "p1", "p2"),
    "qwen4_exp-a": ("p0", "p1", "p2"),
    "qwen4_exp-text-a": ("p0", "p1", "p2"),
}
"""Golden checkpoint -> its prompts: the dense ones of transformers, others of a float64 program."""
EVERY = [(name, prompt) for name, prompts in PROMPTS.items() for prompt in prompts]
CHOOSES_TOKENS = ("deepseek_v32-a", "glm_moe_dsa-a")
"""Those whose near ties bfloat16 decides otherwise: `test_bfloat16_selection` looks at these."""
SHORT = [
    (name, prompt)
    for name, prompt in EVERY
    if prompt != "p3" and (prompt == "p0" or name not in CHOOSES_TOKENS)
]
ON_CPUS = (
    *("minicpm3-a", "qwen3_next-a", "kimi_linear-a", "bailing_hybrid-a", "minimax-a"),
    *("nemotron_h-a", "glm5_next-a", "deepseek_v32-a", "glm_moe_dsa-a"),
    *("qwen4_exp-a", "qwen4_exp-text-a"),
)
"""Those with latent attention or experts, which have no kernels for GPUs."""
ON_A_GPU = [
    *((name, Precision.FLOAT32) for name in PROMPTS if name not in ("minicpm-a", *ON_CPUS)),
    *((name, Precision.BFLOAT16) for name in ("qwen3-a", "minicpm-nope", "hypenet-a")),
    *((name, Precision.BFLOAT16) for name in ("olmo_hybrid-a", "falcon_h1-a")),
]
"""The bfloat16 kernels of llama are those of qwen3."""
LIMIT = 2e-4
CHOOSING = [("glm5_next-a", "p2")]
"""Of these a value that is rounded the other way may choose other tokens to read."""
NEAR = 0.05
"""Largest difference of a bfloat16 logit from the rounded reference, in standard deviations."""
FAR_ROWS = 0.01
"""So many rows may be farther: a value that is rounded the other way moves a state that later
tokens read, and both are as far from the exact logits."""

every_prompt = pytest.mark.parametrize(("name", "prompt"), EVERY)
every_name = pytest.mark.parametrize("name", PROMPTS)


@pytest.mark.parametrize("chunk", [1, 7, 64, None])
@every_prompt
def test_prefill_logits_at_all_positions(
    load_golden: Any, expected: Any, name: str, prompt: str, chunk: int | None
) -> None:
    golden = expected(name)
    found = load_golden(name).logits(golden[f"{prompt}.input_ids"], chunk=chunk)
    np.testing.assert_allclose(found, golden[f"{prompt}.prefill_logits"], rtol=0, atol=LIMIT)


@every_prompt
def test_decode_logits_and_greedy_tokens(
    load_golden: Any, expected: Any, name: str, prompt: str
) -> None:
    golden, model = expected(name), load_golden(name)
    ids, greedy = golden[f"{prompt}.input_ids"], golden[f"{prompt}.greedy_ids"]
    with model.sequence() as sequence:
        rows = [sequence.append(ids)]
        rows += [sequence.append([int(token)]) for token in greedy[:-1]]
    wanted = golden[f"{prompt}.decode_logits"]
    np.testing.assert_allclose(np.stack(rows), wanted, rtol=0, atol=LIMIT)
    assert model.generate(ids, max_new_tokens=32, ignore_eos=True) == greedy.tolist()


@pytest.mark.parametrize("chunk", [7, None])
@pytest.mark.parametrize("prompt", ["p0", "p1", "p2", "p3"])
@pytest.mark.parametrize("name", ["minicpm-a", "minicpm-nope"])
def test_selected_blocks(
    load_golden: Any, expected: Any, name: str, prompt: str, chunk: int | None
) -> None:
    """Of the prompt, and its continuation where one regime holds for both; none where dense."""
    golden, model = expected(name), load_golden(name)
    config = json.loads((GOLDEN / name / "config.json").read_text())
    ids, wanted = golden[f"{prompt}.input_ids"], golden[f"{prompt}.selected_blocks"]
    if prompt == "p3":  # p2 takes other rotary factors once it is longer
        ids = np.concatenate([ids, golden[f"{prompt}.greedy_ids"]])
    _, observed = model.logits(ids, chunk=chunk, observe=("selected_blocks",))
    for layer, found in observed["selected_blocks"].items():
        if len(ids) < config["sparse_config"]["dense_len"]:
            assert (found["counts"] == -1).all()
            continue
        rows = found["blocks"]
        mask = np.zeros((*rows.shape[:2], wanted.shape[-1] + 1), np.uint8)
        np.put_along_axis(mask, np.where(rows < 0, wanted.shape[-1], rows), 1, axis=-1)
        expected_mask = wanted[layer, :, : len(ids)].transpose(1, 0, 2)
        np.testing.assert_array_equal(mask[..., :-1], expected_mask)


@pytest.mark.parametrize("chunk", [7, None])
@pytest.mark.parametrize("prompt", ["p0", "p1", "p2"])
@pytest.mark.parametrize("name", CHOOSES_TOKENS)
def test_selected_tokens(
    load_golden: Any, expected: Any, name: str, prompt: str, chunk: int | None
) -> None:
    """Of every indexer, at the last positions of the prompt; every token where there are few."""
    golden = expected(name)
    ids, wanted = golden[f"{prompt}.input_ids"], golden[f"{prompt}.selected_last8"]
    _, observed = load_golden(name).logits(ids, chunk=chunk, observe=("selected_pools",))
    for mask, (_, rows) in zip(wanted, sorted(observed["selected_pools"].items()), strict=True):
        last = np.asarray(rows)[-8:]
        found = np.zeros((len(last), len(ids) + 1), np.uint8)
        np.put_along_axis(found, np.where(last < 0, len(ids), last), 1, axis=-1)
        np.testing.assert_array_equal(found[:, :-1], mask)


@every_prompt
def test_hidden_states_after_every_layer(
    load_golden: Any, expected: Any, name: str, prompt: str
) -> None:
    golden = expected(name)
    _, observed = load_golden(name).logits(golden[f"{prompt}.input_ids"], observe=("hidden",))
    layers = sorted(observed["hidden"], key=lambda layer: -1 if layer is None else layer)
    found = np.stack([observed["hidden"][layer][-8:] for layer in layers])
    wanted = golden[f"{prompt}.hidden_last8"]
    scale = np.abs(wanted).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found[..., : wanted.shape[-1]] / scale, wanted / scale, atol=1e-4)


@pytest.mark.parametrize(("name", "prompt"), SHORT)
def test_bfloat16_is_the_reference_rounded_at_the_same_points(
    load_golden: Any, expected: Any, name: str, prompt: str
) -> None:
    ids = expected(name)[f"{prompt}.input_ids"]
    found = load_golden(name, Precision.BFLOAT16).logits(ids)
    module = kernel_level_module(GOLDEN / name, Precision.BFLOAT16)
    with open_renamed(GOLDEN / name) as weights:
        wanted = ReferenceModel(module, weights, Rounding.ROUNDED).prefill(ids.tolist())
    if (name, prompt) in CHOOSING:
        exact = expected(name)[f"{prompt}.prefill_logits"]
        errors = [np.sqrt(np.mean((logits - exact) ** 2)) for logits in (found, wanted)]
        assert errors[0] < 1.2 * errors[1]
        return
    far = np.abs(found - wanted).max(axis=1) > NEAR * wanted.std()
    assert far.mean() <= FAR_ROWS
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.02 * wanted.std()


@every_name
def test_the_reference_gives_these_logits_in_float64(expected: Any, name: str) -> None:
    golden = expected(name)
    found = reference_model(GOLDEN / name).prefill(golden["p2.input_ids"].tolist())
    np.testing.assert_allclose(found, golden["p2.prefill_logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "dtype"), ON_A_GPU)
def test_on_an_emulated_gpu(expected: Any, name: str, dtype: Precision, tmp_path: Path) -> None:
    """The short prompt and two decoded tokens; `minicpm-nope` has the kernels of `minicpm-a`."""
    golden, path = expected(name), tmp_path / "model.sala"
    ids, greedy = golden["p0.input_ids"], golden["p0.greedy_ids"]
    with emulated_gpu():
        with emulated_code():
            compile_checkpoint(GOLDEN / name, path, dtype=dtype, targets=("cuda:sm_90",))
        gpu = sala_compile.load(path, context=80, batch=1, chunk=8, device="cuda")
        with gpu, gpu.sequence() as sequence:
            rows = [sequence.append(ids), *(sequence.append([int(t)]) for t in greedy[:2])]
    wanted = golden["p0.decode_logits"][:3]
    limit = LIMIT if dtype is Precision.FLOAT32 else 2 * NEAR * wanted.std()
    assert np.abs(np.stack(rows) - wanted).max() < limit


@every_name
def test_bits_stay(load_golden: Any, expected: Any, name: str, tmp_path: Path) -> None:
    """Cuts at multiples of 64, a batch, a fork, and what was saved give the bits of one sequence
    that is alone."""
    golden, model = expected(name), load_golden(name)
    others = [golden["p1.input_ids"], golden["p0.input_ids"]]
    tokens = golden["p2.greedy_ids"][:4].tolist()
    assert_bits_stay(model, golden["p2.input_ids"], tokens, others, tmp_path / "sequence.state")
