"""GPTQ beside plain rounding on whole models: logits, perplexity, and what the manifest says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from examples.needle import haystack
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.quantization.quantization_report import quantization_info
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.passes.support.quantization import (
    Quantization,
    calibrated_tensors,
    store_as_integers,
)
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.interpreter import ReferenceModel, RowSource
from tests.support.compiled import GOLDEN

NEEDLE = Path(__file__).parents[2] / "examples" / "needle" / "checkpoint"


@dataclass(frozen=True)
class Nearest:
    """A checkpoint whose tensors are rounded value by value."""

    checkpoint: Checkpoint
    encodings: Mapping

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor, after rounding where it is quantised."""
        rows = self.checkpoint.rows(name, start, stop)
        if name not in self.encodings:
            return rows
        return Integers.rounded(rows, self.encodings[name]).values(rows.shape[1])


def opened(place: Path, quantization: Quantization) -> ModelSource:
    checkpoint = Checkpoint.open(place)
    frontend = frontend_for(checkpoint.config)
    config = frontend.parse_config(checkpoint.config)
    captured = frontend.build_module(config)
    integers = calibrated_tensors(captured, quantization)
    store_as_integers(captured, integers)
    tensors = frontend.expected_tensors(config)
    return ModelSource(checkpoint.config, config.facts, tensors, captured, checkpoint, integers)


def logits(source: ModelSource, weights: RowSource, ids: list[int]) -> np.ndarray:
    model = ReferenceModel(source.captured, weights, dtype=np.float32)
    return np.asarray(model.prefill(ids), np.float64)


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root of the mean square, in standard deviations of the wanted logits."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())


def loss(found: np.ndarray, ids: list[int]) -> float:
    """Mean negative log likelihood of each token behind its predecessors."""
    found = found[:-1] - found[:-1].max(axis=1, keepdims=True)
    chosen = found[np.arange(len(ids) - 1), ids[1:]]
    return float(np.mean(np.log(np.exp(found).sum(axis=1)) - chosen))


def divergence(found: np.ndarray, wanted: np.ndarray) -> float:
    """What the loss grows by on text that the wanted logits write."""
    logs = [x - x.max(axis=1, keepdims=True) for x in (found, wanted)]
    found, wanted = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in logs)
    return float(np.mean(np.sum(np.exp(wanted) * (wanted - found), axis=1)))


def options(place: Path, output: Path, quantization: Quantization, **rest) -> CompileOptions:
    return CompileOptions(checkpoint=place, output=output, quantization=quantization, **rest)


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("sala-tiny-a", Quantization.INT4_G32), ("sala-tiny-b", Quantization.INT4_G128)],
)
def test_gptq_keeps_the_logits_of_the_golden_checkpoints_better(name, quantization, tmp_path):
    place = GOLDEN / name
    source = opened(place, quantization)
    ids = np.random.default_rng(1).integers(0, source.facts.vocabulary, 200).tolist()
    asked = options(place, tmp_path / "x.sala", quantization, calibration_tokens=512)
    plain = source.checkpoint
    assert plain is not None
    exact = logits(source, plain, ids)
    nearest = logits(source, Nearest(plain, source.integers), ids)
    with open_weights(source, asked, Silent()) as weights:
        fitted = logits(source, weights.source, ids)
        table = quantization_info(source, asked, weights)
    assert distance(fitted, exact) < 0.85 * distance(nearest, exact)
    assert divergence(fitted, exact) < 0.8 * divergence(nearest, exact)
    assert table is not None
    assert table.rounding == "gptq"
    assert table.calibration is not None
    assert table.calibration.tokens == 512
    assert list(table.tensors) == list(source.tensors)
    for name, entry in table.tensors.items():
        assert (entry.encoding == quantization.encoding.label) == (name in source.integers)
        errors = entry.weight_error, entry.output_error
        assert 0 < errors[1] < errors[0] if name in source.integers else errors == (None, None)
    roles = {(entry.role, entry.encoding) for entry in table.tensors.values()}
    fragile = {(role, "int8-g128") for role in ("output gate", "block selection", "head")}
    assert roles >= {*fragile, ("embedding", "plain"), ("norm or bias", "plain")}
    assert not any(path.name.startswith(".x.sala") for path in tmp_path.iterdir())


def test_gptq_keeps_a_trained_model_better(tmp_path):
    source, quantization = opened(NEEDLE, Quantization.INT4_G128), Quantization.INT4_G128
    text = tmp_path / "ids"
    text.write_text(" ".join(map(str, haystack.draw_case(7, 0, length=600, depth=0.5).token_ids)))
    asked = options(NEEDLE, tmp_path / "x.sala", quantization, calibration=text)
    plain = source.checkpoint
    assert plain is not None
    case = haystack.draw_case(8, 0, length=400, depth=0.3)
    ids = [*case.token_ids, *case.answer_ids]
    exact = logits(source, plain, ids)
    found = {"nearest": logits(source, Nearest(plain, source.integers), ids)}
    with open_weights(source, asked, Silent()) as weights:
        found["gptq"] = logits(source, weights.source, ids)
    errors = {name: distance(values, exact) for name, values in found.items()}
    lost = {name: loss(values, ids) - loss(exact, ids) for name, values in found.items()}
    assert errors["gptq"] < 0.8 * errors["nearest"]
    assert lost["gptq"] < 0.8 * lost["nearest"]
