"""The compiled example: it finds needles far beyond its training length, and reads little."""

import json

import numpy as np
import pytest

import sala_compile
from examples.needle import evaluate, show
from examples.needle.configuration import config
from examples.needle.evaluate import CHECKPOINT
from examples.needle.measure import accuracy, ask_artifact, ask_reference, draw_cases, measure
from sala_compile.passes.assign_precision import Precision
from tests.support.checkpoints import reference_model
from tests.support.compiled import compile_checkpoint

BLOCK = config()["sparse_config"]["block_size"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("needle") / "needle.sala"
    compile_checkpoint(CHECKPOINT, path, dtype=Precision.BFLOAT16, context=8208, chunk=512)
    return path


def test_artifact_answers_as_the_reference_does(artifact):
    reference = reference_model(CHECKPOINT, dtype=np.float32)
    wanted = list(measure(ask_reference(reference), draw_cases(21, 600, 4), BLOCK))
    with sala_compile.load(artifact, context=1024) as model:
        found = list(measure(ask_artifact(model), draw_cases(21, 600, 4), BLOCK))
    assert [x.predicted for x in found] == [x.predicted for x in wanted]
    assert accuracy(found) == 1.0
    spread = np.std([x.logits for x in wanted])
    assert np.median(np.abs([a.logits - b.logits for a, b in zip(found, wanted, strict=True)])) < (
        0.05 * spread
    )


def test_sparse_layers_read_little_of_a_long_text(artifact):
    with sala_compile.load(artifact, context=8192 + 16) as model:
        outcomes = list(measure(ask_artifact(model), draw_cases(22, 8192, 5), BLOCK))
    assert accuracy(outcomes) >= 0.8
    assert all(x.hit for x in outcomes if x.is_right)
    assert max(x.read for x in outcomes) < 0.04


def test_commands_print_what_they_measured(artifact, monkeypatch, capsys, tmp_path):
    lengths = ("--lengths", "200,600", "--cases", "2")
    command = ["evaluate", "--artifact", str(artifact), *lengths, "--json", "--reference"]
    monkeypatch.setattr("sys.argv", command)
    evaluate.main()
    document = json.loads(capsys.readouterr().out)
    assert [row["length"] for row in document["results"]] == [200, 600, 200, 600]
    assert set(document["agreement"]) == {"200", "600"}
    text = tmp_path / "text.txt"
    monkeypatch.setattr("sys.argv", ["show", str(artifact), "--length", "1K", "--write", str(text)])
    show.main()
    printed = capsys.readouterr().out
    assert "1,024 tokens" in printed
    assert "reads 16 of 64 blocks (25.00%)" in printed
    assert text.read_text(encoding="utf-8").endswith(" is")
