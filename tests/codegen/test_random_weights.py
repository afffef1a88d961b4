"""Artifacts of a configuration alone: weights that a loader makes from a seed."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli.compile import command
from sala_compile.runtime.artifact import (
    Fill,
    SeededTensors,
    SeededWeights,
    open_artifact,
    widen_bfloat16,
)
from sala_compile.runtime.artifact.seeded import PERIOD, WARNING
from sala_compile.runtime.cli.inspect import command as inspect
from sala_compile.runtime.cli.run import command as sala_run
from tests.support.checkpoints import LIGHTNING, tiny_config
from tests.support.process_memory import anonymous_bytes


def made(**fills: Fill) -> dict[str, np.ndarray]:
    """The tensors of some fills."""
    tensors = SeededTensors(SeededWeights(seed=3, fills=fills))
    return {name: tensors.array(name) for name in fills}


def test_fills_have_their_spread_and_are_the_same_again():
    fills = {
        "normal": Fill(kind="normal", element="bfloat16", shape=(3, 700_001), value=0.25),
        "codes": Fill(kind="bits", element="uint16", shape=(40, 5000)),
        "scales": Fill(kind="constant", element="float16", shape=(7, 3), value=0.5),
        "ones": Fill(kind="constant", element="float32", shape=(5,), value=1.0),
    }
    first, second = made(**fills), made(**fills)
    for name in fills:
        np.testing.assert_array_equal(first[name], second[name])
        assert first[name].ctypes.data % 64 == 0
    values = widen_bfloat16(first["normal"])
    assert abs(values.std() / 0.25 - 1) < 0.01
    assert abs(values.mean()) < 0.002
    assert values.size > PERIOD
    assert (first["normal"][0] != first["normal"][1]).mean() > 0.9
    nibbles = first["codes"][:, :, None] >> np.array([0, 4, 8, 12]) & 15
    assert np.bincount(nibbles.reshape(-1), minlength=16).min() > 0.9 * nibbles.size / 16
    assert (first["scales"].view(np.float16) == 0.5).all()
    assert (first["ones"] == 1).all()


def test_what_is_made_is_anonymous_memory():
    fill = Fill(kind="bits", element="uint16", shape=(1 << 24,))
    tensors = SeededTensors(SeededWeights(seed=0, fills={"w": fill}))
    before = anonymous_bytes()
    array = tensors.array("w")
    assert tensors.nbytes == array.nbytes == 32 << 20
    assert abs(anonymous_bytes() - before - array.nbytes) < 4 << 20


def test_fills_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="is not filled with"):
        Fill(kind="normal", element="uint8", shape=(4,), value=1.0)
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Fill(kind="bits", element="uint8", shape=(-4,))


def test_a_model_without_a_checkpoint_runs_and_says_what_it_is(tmp_path):
    config, artifact = tmp_path / "config.json", tmp_path / "x.sala"
    config.write_text(json.dumps(tiny_config(mixers=(LIGHTNING,), hidden=32, heads=2)))
    result = CliRunner().invoke(
        command,
        [*("--config", str(config), "--weights", "random", "-o", str(artifact), "--json")],
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert WARNING in document["notes"]
    assert not list(artifact.glob("*.safetensors"))
    found = open_artifact(artifact)
    assert found.mapped_bytes == 0
    with sala_compile.load(artifact, context=256) as model:
        logits = model.logits(list(range(70)))
        memory, info = model.info()["memory"], model.info()
    assert np.isfinite(logits).all()
    assert 0.1 < logits.std() < 20
    assert info["random_weights"] is True
    assert memory["parts"]["weights"] == document["memory"]["parts"]["weights"]
    assert memory["anonymous_bytes"] == memory["total_bytes"] == memory["planned_bytes"]
    with sala_compile.load(artifact, context=256) as model:
        np.testing.assert_array_equal(model.logits(list(range(70))), logits)
    shown = CliRunner().invoke(inspect, [str(artifact)])
    assert WARNING in shown.stdout
    ran = CliRunner().invoke(sala_run, [str(artifact), "--ids", "1,2,3", "--max-tokens", "2"])
    assert ran.exit_code == 0
    assert f"warning: {WARNING}" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CHECKPOINT", "--weights", "random"], "for a configuration without a checkpoint"),
        (["--config", "config.json"], "--config has no weights to compile"),
        (
            ["--config", "c", "--weights", "random", "--calibration", "f"],
            "are for error-aware rounding",
        ),
    ],
)
def test_contradictions_are_refused(arguments, message):
    result = CliRunner().invoke(command, [*arguments, "-o", "x.sala"])
    assert result.exit_code == 2
    assert message in result.stderr
