"""Error-aware rounding: against the textbook's formulas, and what it is worth on whole models."""

import os
from pathlib import Path

import numpy as np
import pytest

from sala_compile.codegen.quantization import cholesky
from sala_compile.codegen.quantization.calibration import calibration_for
from sala_compile.codegen.quantization.cholesky import damped_cholesky
from sala_compile.codegen.quantization.gptq_rounding import Rounder
from sala_compile.codegen.quantization.integer_files import IntegerStore
from sala_compile.runtime.errors import RequestError
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.checkpoint.integers import Integers
from sala_compile.sala_ir.checkpoint.rounding_errors import ErrorSums
from sala_compile.sala_ir.dialect import EncodingAttr

INT4 = EncodingAttr("int4", 32)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """A weight [24, 150] and inputs [400, 150] of very different and correlated columns."""
    random = np.random.default_rng(0)
    mix = random.standard_normal((150, 150)) / 12 * np.exp(random.standard_normal(150))
    inputs = random.standard_normal((400, 150)) @ mix
    weight = random.standard_normal((24, 150))
    return weight.astype(np.float32), inputs.astype(np.float32)


def textbook(weight: np.ndarray, moments: np.ndarray, encoding: EncodingAttr) -> np.ndarray:
    """Columns one by one with the rows of the inverse's Cholesky factor, last column first."""
    depth = len(moments)
    turned = moments[::-1, ::-1].astype(np.float64)
    turned += 0.01 * np.diag(moments).mean() * np.eye(depth)
    upper = np.linalg.cholesky(np.linalg.inv(turned)).T
    left, values = weight[:, ::-1].astype(np.float64), np.zeros(weight.shape)
    group = encoding.group.data
    scale = np.ones((len(weight), 1))
    for place in range(depth):
        column = depth - 1 - place
        if place == 0 or column % group == group - 1:
            members = left[:, place : depth - column // group * group]
            scale, zero = reference.scale_and_zero(members[:, None], encoding.bits, False)
        codes = np.clip(np.round(left[:, place] / scale[:, 0, 0]) + zero[:, 0, 0], 0, 15)
        values[:, column] = scale[:, 0, 0] * (codes - zero[:, 0, 0])
        error = (left[:, place] - values[:, column]) / upper[place, place]
        left[:, place + 1 :] -= error[:, None] * upper[place, place + 1 :]
    return values


def output_error(weight: np.ndarray, values: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.linalg.norm((weight - values) @ inputs.T) / np.linalg.norm(weight @ inputs.T))


def test_integers_are_those_of_the_textbook(problem):
    weight, inputs = problem
    moments = inputs.T @ inputs
    expected = textbook(weight, moments, INT4)
    damped_cholesky(moments)
    integers, lost = Rounder(moments, INT4).round(weight)
    values = integers.values(150)
    assert np.mean(values == expected.astype(np.float32)) > 0.99  # near ties fall by rounding
    np.testing.assert_allclose(weight - values, lost, atol=1e-5)
    plain = Integers.rounded(weight, INT4).values(150)
    assert output_error(weight, values, inputs) < 0.9 * output_error(weight, plain, inputs)


@pytest.mark.parametrize(
    "encoding", [INT4, EncodingAttr("int4", 128, "stored"), EncodingAttr("int8", 128)], ids=str
)
def test_activation_order_keeps_places_and_helps(problem, encoding):
    weight, inputs = problem
    moments = inputs.T @ inputs
    order = np.argsort(np.diagonal(moments), kind="stable")
    moments = moments[np.ix_(order, order)]
    damped_cholesky(moments)
    integers, lost = Rounder(moments, encoding, order).round(weight)
    values = integers.values(150)
    np.testing.assert_allclose(weight - values, lost, atol=1e-5)
    plain = Integers.rounded(weight, encoding).values(150)
    assert output_error(weight, values, inputs) < 0.7 * output_error(weight, plain, inputs)


def test_a_factor_takes_the_place_of_its_matrix(monkeypatch):
    monkeypatch.setattr(cholesky, "BLOCK", 20)
    inputs = np.random.default_rng(0).standard_normal((90, 70)).astype(np.float32)
    moments = inputs.T @ inputs
    wanted = moments + 0.01 * np.diag(moments).mean() * np.eye(70, dtype=np.float32)
    found = moments.copy()
    assert damped_cholesky(found) == 0.01
    lower = np.tril(found)
    np.testing.assert_allclose(lower @ lower.T, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.triu(found, 1), np.triu(moments, 1))


def test_damping_grows_where_the_matrix_is_not_positive(monkeypatch):
    monkeypatch.setattr(cholesky, "BLOCK", 20)
    inputs = np.random.default_rng(0).standard_normal((90, 70)).astype(np.float32)
    moments = inputs.T @ inputs
    moments -= np.float32(0.5 * np.linalg.eigvalsh(moments)[0] + 3) * np.eye(70, dtype=np.float32)
    found = moments.copy()
    used = damped_cholesky(found)
    assert used > 0.01
    wanted = moments + used * np.diag(moments).mean() * np.eye(70, dtype=np.float32)
    lower = np.tril(found)
    np.testing.assert_allclose(lower @ lower.T, wanted, rtol=1e-4, atol=1e-3)
    zeros = np.zeros((5, 5), np.float32)
    damped_cholesky(zeros)
    assert np.isfinite(zeros).all()


@pytest.mark.parametrize("encoding", [INT4, EncodingAttr("int8", 128, "stored")], ids=str)
def test_a_store_gives_back_any_rows(tmp_path, encoding):
    store = IntegerStore(tmp_path)
    integers = Integers.rounded(np.random.default_rng(0).standard_normal((9, 150)), encoding)
    store.create("w", (9, 150), encoding)
    store.write("w", 0, integers.slice(0, 5))
    store.write("w", 5, integers.slice(5, 9))
    found, wanted = store.read("w", 3, 8), integers.slice(3, 8)
    for part in ("codes", "scales", "zeros"):
        np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))
    assert "w" in store
    assert "v" not in store


def test_tensors_share_files(tmp_path):
    """A model with experts has more of them than a system maps files."""
    store, kept = IntegerStore(tmp_path), {}
    random = np.random.default_rng(1)
    for number in range(200):
        rows, encoding = 1 + number % 7, INT4 if number % 3 else EncodingAttr("int8", 128, "stored")
        kept[f"w{number}"] = Integers.rounded(random.standard_normal((rows, 130)), encoding)
        store.create(f"w{number}", (rows, 130), encoding)
    for name in reversed(kept):
        store.write(name, 0, kept[name])
    assert len(list(tmp_path.iterdir())) == 3
    for name, wanted in kept.items():
        found = store.read(name, 0, len(wanted) + 5)  # no rows of the next tensor
        assert len(found) == len(wanted)
        for part in ("codes", "scales", "zeros"):
            np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))


def test_errors_of_large_values_are_numbers():
    sums, values = ErrorSums(), np.full((3, 5), 4e30, np.float32)
    sums.add_weight("w", values, values / 4)
    sums.add_output("w", values, values / 8)
    assert sums.weight_error("w") == pytest.approx(0.25)
    assert sums.output_error("w") == pytest.approx(0.125)


def test_calibration_files(tmp_path):
    ids = tmp_path / "ids.json"
    ids.write_text("[5, 07, 9]")
    assert calibration_for(tmp_path, 10, ids, 2).token_ids == (5, 7)
    with pytest.raises(RequestError, match="token id 9 is out of range"):
        calibration_for(tmp_path, 9, ids, 2)
    text = tmp_path / "text.txt"
    text.write_text("words")
    with pytest.raises(RequestError, match="the checkpoint has no tokenizer"):
        calibration_for(tmp_path, 10, text, 2)
    with pytest.raises(RequestError, match="cannot be read"):
        calibration_for(tmp_path, 10, tmp_path / "missing", 2)
    ids.write_text("0" * 5000 + "5 " + "9" * 5000)
    with pytest.raises(RequestError, match=r"token id 9{20} is out of range"):
        calibration_for(tmp_path, 10, ids, 2)
    text.write_bytes(b"\xff")
    with pytest.raises(RequestError, match="cannot be read: it is not UTF-8"):
        calibration_for(tmp_path, 10, text, 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="cannot be read: it is a pipe"):
        calibration_for(tmp_path, 10, tmp_path / "pipe", 2)
    seeded = calibration_for(tmp_path, 10, None, 50)
    assert len(seeded.token_ids) == 50
    assert "no tokenizer" in seeded.origin
    assert seeded.digest == calibration_for(tmp_path, 10, None, 50).digest


def test_the_text_that_ships_is_long_enough():
    needle = Path(__file__).parents[2] / "examples" / "needle" / "checkpoint"
    found = calibration_for(needle, 772, None, 3000)
    assert len(found.token_ids) == 3000
    assert found.origin == "the text of sala-compile"
