"""The dense twin: its training resumes, learns, and the comparison runs on what was compiled."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from examples.halo.training.stage_training import Clock, OutOfTime
from examples.halo.twin import __main__ as twin_command
from examples.halo.twin.__main__ import compare, table, write_lessons
from examples.halo.twin.configuration import LENGTH, STAGES, config
from examples.halo.twin.initial import initial_weights
from examples.halo.twin.train import train
from examples.needle.lessons import Stage
from tests.support.compiled import compile_checkpoint

torch.set_num_threads(1)
SHORT = (
    Stage(length=40, batch=2, steps=3, needles=1, questions=1, rate=1e-3),
    Stage(length=48, batch=2, steps=2, needles=2, questions=1, rate=1e-3, last_rate=1e-4),
)


def test_a_stopped_training_ends_with_the_same_weights(tmp_path: Path):
    whole = load_file(train(tmp_path / "a", 0, Clock(), SHORT) / "model.safetensors")
    pieces = 0
    while True:
        try:
            directory = train(tmp_path / "b", 0, Clock(0.0), SHORT)
            break
        except OutOfTime:
            pieces += 1
    assert pieces == 3, "five steps, two of them the last of their stage"
    parts = load_file(directory / "model.safetensors")
    assert all(torch.equal(parts[name], x) for name, x in whole.items())
    before = initial_weights(0)
    assert all(not torch.equal(x, before[name]) for name, x in whole.items())


def test_twin_and_example_are_about_as_large():
    parameters = sum(x.numel() for x in initial_weights(0).values())
    assert 3.2e6 < parameters < 3.7e6
    assert STAGES[-1].length == LENGTH == config()["max_position_embeddings"]


def test_the_comparison_asks_both_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = train(tmp_path, 0, Clock(), SHORT)
    artifact = tmp_path / "any.sala"
    compile_checkpoint(checkpoint, artifact)
    monkeypatch.setattr(twin_command, "compiled", lambda *_: artifact)
    rows = compare({"twin": checkpoint, "other": checkpoint}, tmp_path, (64, 80))
    assert [(row["model"], row["length"]) for row in rows] == [
        ("twin", 64), ("twin", 80), ("other", 64), ("other", 80),
    ]  # fmt: skip
    assert [row["found"] for row in rows[:2]] == [row["found"] for row in rows[2:]]
    text = table({0: rows})
    assert text.count("| 0 | ") == 2
    assert "| 64 | 80 |" in text


@pytest.mark.parametrize("seed", [0, 1])
def test_lessons_are_whole_texts_by_length(tmp_path: Path, seed: int):
    lessons = {
        48: Stage(length=48, batch=3, steps=1, needles=1, questions=1, rate=0.0),
        64: Stage(length=64, batch=2, steps=1, needles=2, questions=1, rate=0.0),
    }
    paths = write_lessons(tmp_path, seed, lessons)
    found = [np.load(path) for path in paths]
    assert [x.shape for x in found] == [(3, 48), (2, 64)]
    assert max(int(x.max()) for x in found) < config()["vocab_size"]
    stamps = [path.stat().st_mtime_ns for path in paths]
    write_lessons(tmp_path, seed, lessons)
    assert [path.stat().st_mtime_ns for path in paths] == stamps
