"""Logits that are not numbers: an error that names the token, on every way to them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.runtime.artifact import write_artifact
from sala_compile.runtime.cli import inspect
from sala_compile.runtime.engine.logit_check import first_with_nan, require_numbers
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.model import Model
from sala_compile.runtime.verify import verify_artifact
from tests.support import handmade as support
from tests.support.sequences import spoiled

WRONG = {"nan": np.nan, "infinite": np.inf, "minus infinity": -np.inf}


def _artifact(directory: Path, bias: float) -> Path:
    """An artifact whose logits are all of one kind."""
    write_artifact(directory, lambda writer: support.fill(writer, bias=bias))
    return directory


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """An artifact whose logits are all NaN."""
    return _artifact(tmp_path / "a.sala", np.nan)


CALLS: dict[str, Callable[[Model], object]] = {
    "logits": lambda model: model.logits([5, 4, 3]),
    "logits in chunks": lambda model: model.logits([5, 4, 3], chunk=1),
    "observe": lambda model: model.logits([5, 4, 3], observe=("hidden",)),
    "append": lambda model: model.sequence().append([5, 4, 3]),
    "decode": lambda model: model.decode([model.sequence()], [5]),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_names_the_token(wrong: Path, call: str) -> None:
    with sala_compile.load(wrong) as model, pytest.raises(ArtifactError) as caught:
        CALLS[call](model)
    found = str(caught.value)
    assert "the model computed a logit that is not a number" in found
    place = 2 if call == "append" else 0
    assert f"the logits after token {place}" in found
    assert "sala-inspect --verify" in found


def test_generate_does_not_go_on_from_what_is_not_a_number(wrong: Path) -> None:
    with sala_compile.load(wrong) as model, pytest.raises(ArtifactError, match="not a number"):
        model.generate([5, 4, 3])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_values(tmp_path: Path, value: float) -> None:
    with sala_compile.load(_artifact(tmp_path / "a.sala", value)) as model:
        assert (model.logits([5, 4, 3]) == value).all()
        sequence = model.sequence()
        assert (sequence.append([5, 4]) == value).all()
        assert (model.decode([sequence], [3]) == value).all()
        assert (sequence.last_logits == value).all()


@pytest.mark.parametrize("kind", WRONG)
def test_the_advice_is_true(tmp_path: Path, kind: str) -> None:
    """--verify fails, and says by name which vector and why; for infinities too."""
    directory = _artifact(tmp_path / "a.sala", WRONG[kind])
    why = "the model computed a logit that is" if kind == "nan" else "computed values are NaN or"
    report = verify_artifact(directory)
    assert not any(result.passed for result in report.results)
    assert report.results[0].problem is not None
    assert why in report.results[0].problem
    shown = CliRunner().invoke(inspect.command, [str(directory), "--verify"])
    assert shown.exit_code == 1
    assert "FAILED, " in shown.output
    told = CliRunner().invoke(inspect.command, [str(directory), "--verify", "--json"])
    assert told.exit_code == 1
    assert '"difference": null' in told.output


def test_a_sequence_keeps_its_tokens_and_the_others_their_logits(handmade: Path) -> None:
    with sala_compile.load(handmade, batch=2) as model:
        good, bad = model.sequence(), model.sequence()
        good.append([5])
        bad.append([4])

        with (
            spoiled(model, 1),
            pytest.raises(ArtifactError, match="not a number") as caught,
        ):
            model.decode([good, bad], [1, 2])
        assert "token 1 of sequence 1" in str(caught.value)
        assert good.token_ids == [5, 1]
        assert bad.token_ids == [4, 2]
        np.testing.assert_array_equal(good.last_logits, support.expected_logits([5, 1])[1])
        with pytest.raises(ArtifactError, match="not a number"):
            _ = bad.last_logits
        assert np.isfinite(bad.append([3])).all()


def test_the_first_row_is_found_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sala_compile.runtime.engine.logit_check.BLOCK", 10)
    rows = np.zeros((9, 5), np.float32)
    assert first_with_nan(rows) is None
    assert require_numbers(rows) is rows
    rows[2, 4] = -np.inf
    rows[7, 4] = np.nan
    assert first_with_nan(rows) == 7
    rows[3, 0] = np.nan
    assert first_with_nan(rows) == 3
    with pytest.raises(ArtifactError, match="token 103: 1 of 5, the first for the token id 0"):
        require_numbers(rows, 100)
    assert first_with_nan(np.zeros((0, 5), np.float32)) is None
