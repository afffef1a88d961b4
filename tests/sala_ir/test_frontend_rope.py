"""Rotary frequencies of configs: scalings, where they may be, what follows from them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.sala_ir.dialect import RopeTableOp
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.frontends.kit.rope_config import Rope
from sala_compile.sala_ir.frontends.kit.rotary import inverse_frequencies, rotary
from tests.support.checkpoints import reference_model, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.dense_configs import DENSE, LONG, small


def test_linear_scaling_divides_every_frequency() -> None:
    found = rotary(Rope(rope_type="linear", factor=4.0), 1e4, 32)
    np.testing.assert_allclose(found.frequencies, 1e4 ** (-np.arange(16) / 16) / 4, rtol=1e-6)
    assert found.factor == 1.0


def test_llama3_keeps_short_wavelengths_and_divides_long_ones() -> None:
    """Against the formula wavelength by wavelength, in float64."""
    rope = Rope(
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    found = rotary(rope, 5e5, 128)
    kinds = Counter[str]()
    for index, frequency in enumerate(found.frequencies):
        plain = 5e5 ** (-index / 64)
        turns = 8192 * plain / (2 * math.pi)  # within the original length
        kinds["kept" if turns > 4 else "divided" if turns < 1 else "between"] += 1
        part = min(max((turns - 1) / (4 - 1), 0), 1)
        assert frequency == pytest.approx(plain * (part + (1 - part) / 8), rel=2e-6)
    assert min(kinds.values()) > 3
    assert found.factor == 1.0


@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_interpolates_between_two_numbers_of_turns(truncate: bool) -> None:
    rope = Rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=4096, truncate=truncate
    )
    found = rotary(rope, 1e4, 64)
    places = [
        64 * math.log(4096 / (turns * 2 * math.pi)) / (2 * math.log(1e4)) for turns in (32.0, 1.0)
    ]
    low, high = (math.floor(places[0]), math.ceil(places[1])) if truncate else places
    divided = np.clip((np.arange(32) - low) / (high - low), 0, 1)
    plain = 1e4 ** (-np.arange(32) / 32)
    expected = plain / 4 * divided + plain * (1 - divided)
    np.testing.assert_allclose(found.frequencies, expected, rtol=2e-6)
    assert found.factor == pytest.approx(0.1 * math.log(4.0) + 1)


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"attention_factor": 1.5}, 1.5),
        ({"mscale": 0.707}, 0.1 * math.log(40) + 1),
        (
            {"mscale": 1.0, "mscale_all_dim": 0.5},
            (0.1 * math.log(40) + 1) / (0.05 * math.log(40) + 1),
        ),
    ],
)
def test_factor_of_yarn(fields: dict[str, float], factor: float) -> None:
    rope = Rope(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, **fields)
    assert rotary(rope, 1e4, 64).factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"max_position_embeddings": 160}, math.sqrt(1 + math.log(4) / math.log(40))),
        ({"max_position_embeddings": 40}, 1.0),
        ({"factor": 2.0}, math.sqrt(1 + math.log(2) / math.log(40))),
        ({"attention_factor": 1.5, "max_position_embeddings": 160}, 1.5),
    ],
)
def test_long_rope_divides_by_factors_that_follow_the_call_length(
    fields: dict[str, Any], factor: float
) -> None:
    trained = fields.pop("max_position_embeddings", None)
    raw = small("llama", rope_scaling=LONG | fields, max_position_embeddings=trained)
    found = rotary(frontend_for(raw).parse_config(raw).rope, 1e4, 16)
    plain = 1e4 ** (-np.arange(8) / 8)
    expected = [plain / LONG["short_factor"], plain / LONG["long_factor"]]
    np.testing.assert_allclose(found.frequencies, np.ravel(expected), rtol=1e-6)
    assert found.starts == (0, 41)
    assert found.factor == pytest.approx(factor)


def test_long_rope_runs_on_the_frequencies_of_the_whole_call(tmp_path: Path) -> None:
    """Below and beyond the original length, read in chunks, decoded across it."""
    raw = small("qwen3", rope_scaling=LONG, max_position_embeddings=160)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", raw)
    compile_checkpoint(checkpoint, tmp_path / "model.sala")
    ids = np.random.default_rng(0).integers(0, 131, 90).tolist()
    with sala_compile.load(tmp_path / "model.sala", context=128) as model:
        names = [path.name for path in model.artifact.program.paths]
        assert len(names) == 2
        for length in (40, 41, 90):
            reference = reference_model(checkpoint)
            wanted = reference.prefill(ids[:length])
            found = model.logits(ids[:length], chunk=16)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
            with model.sequence() as sequence:
                sequence.append(ids[:length])
                for token in ids[:3]:
                    last = reference.decode(token)
                    np.testing.assert_allclose(sequence.append([token]), last, rtol=0, atol=1e-3)


def test_frequencies_without_scaling_are_those_of_theta() -> None:
    assert rotary(Rope(), 1e6, 24).frequencies == tuple(inverse_frequencies(1e6, 24).tolist())


@pytest.mark.parametrize("family", DENSE)
@pytest.mark.parametrize(
    "fields",
    [
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
            "rope_parameters": {"rope_type": "linear", "factor": 2.0},
        },
    ],
)
def test_places_of_a_scaling(family: str, fields: dict[str, Any]) -> None:
    raw = small(family, **fields)
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw))
    (table,) = (op for op in module.walk() if isinstance(op, RopeTableOp))
    wanted = tuple((inverse_frequencies(1e4, 16) / np.float32(2)).tolist())
    assert table.parameters["frequencies"] == wanted


@pytest.mark.parametrize("kind", ["yarn", "llama3"])
@pytest.mark.parametrize(
    "fields", [{"original_max_position_embeddings": 64}, {"max_position_embeddings": 64}]
)
def test_the_first_length_of_a_scaling_may_be_a_field_of_the_config(
    kind: str, fields: dict[str, int]
) -> None:
    scaling = {"rope_type": kind, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    raw = small("llama", rope_scaling=scaling, **{"max_position_embeddings": 512} | fields)
    assert frontend_for(raw).parse_config(raw).rope.original_max_position_embeddings == 64
