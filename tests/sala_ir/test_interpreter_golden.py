"""The captured module on the interpreter, in float64, against the golden checkpoints."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.frontends.minicpm_sala.config import MiniCPMSalaConfig, MixerType
from sala_compile.sala_ir.interpreter import ReferenceModel

DATA = Path(__file__).parents[1] / "golden" / "data"
NAMES = ("sala-tiny-a", "sala-tiny-b")
PROMPTS = ("p0", "p1")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Golden:
    """A golden checkpoint as a model, and one prompt's expected values."""

    model: ReferenceModel
    config: MiniCPMSalaConfig
    values: dict[str, np.ndarray]

    @property
    def prompt(self) -> list[int]:
        return self.values["input_ids"].tolist()

    @property
    def text(self) -> list[int]:
        return self.prompt + self.values["greedy_ids"].tolist()


@cache
def _sparse_layers(config: MiniCPMSalaConfig) -> list[int]:
    return [n for n, kind in enumerate(config.mixer_types) if kind is MixerType.SPARSE]


def _load(name: str) -> tuple[ReferenceModel, MiniCPMSalaConfig, dict[str, np.ndarray]]:
    checkpoint = Checkpoint.open(DATA / name)
    frontend = frontend_for(checkpoint.config)
    config = frontend.parse_config(checkpoint.config)
    checkpoint.check(frontend.expected_tensors(config))
    model = ReferenceModel(frontend.build_module(config), checkpoint)
    return model, config, load_file(DATA / name / "golden.safetensors")


@pytest.fixture(params=[f"{name}:{prompt}" for name in NAMES for prompt in PROMPTS])
def golden(request) -> Golden:
    name, prompt = request.param.split(":")
    model, config, values = _load(name)
    own = {key[3:]: value for key, value in values.items() if key.startswith(f"{prompt}.")}
    return Golden(model, config, own)


def test_logits_of_every_position(golden):
    logits = golden.model.prefill(golden.prompt)
    np.testing.assert_allclose(logits, golden.values["prefill_logits"], atol=TOLERANCE)


def test_greedy_continuation(golden):
    ids, logits = golden.model.greedy(golden.prompt, 32)
    assert ids == golden.values["greedy_ids"].tolist()
    np.testing.assert_allclose(logits, golden.values["decode_logits"], atol=TOLERANCE)


def test_recomputed_continuation(golden):
    text = golden.prompt + golden.values["greedy_ids_recompute"].tolist()
    logits = golden.model.prefill(text[:-1], rows="last")
    np.testing.assert_allclose(logits[0], golden.values["recompute_last_logits"], atol=TOLERANCE)


@pytest.mark.parametrize("chunk", [37, 64])
def test_chunks_of_a_call_change_nothing(golden, chunk):
    logits = golden.model.prefill(golden.prompt, chunk=chunk)
    np.testing.assert_allclose(logits, golden.values["prefill_logits"], atol=TOLERANCE)


def test_inner_values(golden):
    """Hidden rows of the last 8 positions, and the blocks of every query in the sparse regime."""
    model, config = golden.model, golden.config
    _, seen = model.prefill(golden.prompt, observe=("hidden", "selected_blocks"))
    pieces = [seen]
    for token in golden.values["greedy_ids"].tolist():
        _, seen = model.extend([token], observe=("hidden", "selected_blocks"))
        pieces.append(seen)
    layers = [None, *range(config.num_hidden_layers)]
    for layer, expected in zip(layers, golden.values["hidden_last8"], strict=True):
        rows = np.concatenate([piece["hidden"][layer] for piece in pieces])
        np.testing.assert_allclose(rows[-8:], expected, atol=TOLERANCE)
    if "selected_blocks" not in golden.values:
        return
    for layer, expected in zip(
        _sparse_layers(config), golden.values["selected_blocks"], strict=True
    ):
        blocks, counts = (
            np.concatenate([piece["selected_blocks"][layer][i] for piece in pieces]) for i in (0, 1)
        )
        _check_selection(golden, blocks, counts, expected)


def _check_selection(golden, blocks, counts, expected):
    first_sparse = golden.config.sparse_config.dense_len - 1
    if len(golden.prompt) > first_sparse:
        first_sparse = 0
    assert (counts[: max(first_sparse, 0)] == -1).all()
    for position in range(first_sparse, len(golden.text)):
        for group in range(golden.config.num_key_value_heads):
            count = counts[position, group]
            chosen = np.flatnonzero(expected[group, position])
            assert blocks[position, group, :count].tolist() == chosen.tolist()
