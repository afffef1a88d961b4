"""Training of the needle example: it learns, and going on is as if it had never stopped."""

import json

import pytest
import torch

from examples.needle import train
from examples.needle.lessons import Stage
from sala_ir.checkpoint import Checkpoint
from sala_ir.frontends import frontend_for

SHORT = Stage(length=48, batch=3, steps=3, needles=2, questions=1, rate=1e-3, copying=0.5)
LONG = Stage(length=530, batch=1, steps=1, needles=3, questions=3, rate=1e-3, last_rate=1e-4)


@pytest.fixture
def stages(monkeypatch):
    monkeypatch.setattr(train, "STAGES", (SHORT, LONG))
    torch.set_num_threads(1)


def _losses(work):
    lines = (work / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.usefixtures("stages")
def test_training_writes_a_checkpoint_and_resumes(tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for work in (whole, parts):
        work.mkdir()
    train.Trainer(whole, 0, False).run()
    monkeypatch.setattr(train, "STAGES", (SHORT,))
    train.Trainer(parts, 0, False).run()
    monkeypatch.setattr(train, "STAGES", (SHORT, LONG))
    train.Trainer(parts, 0, False).run()
    assert len(_losses(whole)) == SHORT.steps + LONG.steps
    assert _losses(parts) == _losses(whole)
    checkpoint = Checkpoint.open(whole / "checkpoint")
    frontend = frontend_for(checkpoint.config)
    checkpoint.check(frontend.expected_tensors(frontend.parse_config(checkpoint.config)))


@pytest.mark.usefixtures("stages")
def test_every_weight_is_trained(tmp_path):
    trainer = train.Trainer(tmp_path, 0, False)
    before = {name: x.detach().clone() for name, x in trainer.weights.items()}
    trainer.advance()
    unchanged = [name for name, x in trainer.weights.items() if torch.equal(x, before[name])]
    assert not unchanged
