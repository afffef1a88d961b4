"""One minute through everything: checkpoint, passes, kernels, artifact, logits, text, commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.runtime.cli.inspect import command as inspect_command
from sala_compile.runtime.cli.run import command as run_command
from sala_compile.runtime.errors import RequestError
from tests.support.checkpoints import reference_model, tiny_config, write_checkpoint
from tests.support.tokenizers import byte_level


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a byte-level tokenizer, compiled by the command."""
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_checkpoint(folder / "checkpoint", tiny_config(vocabulary=320))
    byte_level().save(str(checkpoint / "tokenizer.json"))
    result = CliRunner().invoke(
        compile_command,
        [str(checkpoint), "-o", str(folder / "tiny.sala"), "--dtype", "float32", "--json"],
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kernels"]["cpu"]
    return folder / "tiny.sala"


def test_logits_are_those_of_the_reference(artifact):
    ids = np.random.default_rng(0).integers(0, 320, 100)
    wanted = reference_model(artifact.parent / "checkpoint").prefill(ids.tolist())
    with sala_compile.load(artifact, context=256) as model:
        np.testing.assert_allclose(model.logits(ids), wanted, rtol=0, atol=1e-3)
        np.testing.assert_allclose(model.logits(ids, chunk=37), wanted, rtol=0, atol=1e-3)


def test_text_goes_in_and_comes_out(artifact):
    with sala_compile.load(artifact, context=256) as model:
        pieces = list(model.stream("hello", max_new_tokens=8, ignore_eos=True))
    assert "".join(pieces)


def test_an_empty_text_is_an_empty_prompt(artifact):
    with sala_compile.load(artifact, context=256) as model:
        with pytest.raises(RequestError, match="empty"):
            model.generate("")
        with pytest.raises(RequestError, match="empty"):
            list(model.stream(""))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (run_command, ["--prompt", "hello", "--max-tokens", "4", "--context", "256"]),
        (inspect_command, []),
        (inspect_command, ["--verify"]),
    ],
)
def test_the_commands_end_well(artifact, command, arguments):
    result = CliRunner().invoke(command, [str(artifact), *arguments])
    assert result.exit_code == 0, result.output
