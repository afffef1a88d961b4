"""Training of the needle example: it learns, and going on is as if it had never stopped."""

import json

import numpy as np
import pytest
import torch

from examples.needle import train
from examples.needle.configuration import config
from examples.needle.initial import initial_weights
from examples.needle.lessons import Stage
from examples.needle.selection import MARGIN, SelectionLoss
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import BlockSelection
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.reference.cache import COARSE_FACTOR, window_means
from sala_compile.sala_ir.reference.selection import fine_scores

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


def test_selection_loss_ranks_as_the_reference_does():
    """Its windows are those of `fine_scores`: the loss is found again from the reference."""
    trainer_weights = initial_weights(_shapes(), 0)
    values = config()
    sizes, layer = values["sparse_config"], values["num_hidden_layers"] - 1
    hidden = torch.randn(200, values["hidden_size"], generator=torch.Generator().manual_seed(1))
    sources = np.full(200, -1)
    sources[[150, 190]] = 21, 64
    found = SelectionLoss(layer, trainer_weights).of_text(hidden, sources)

    prefix = f"model.layers.{layer}."
    norm = trainer_weights[f"{prefix}input_layernorm.weight"]
    x = reference.rms_norm(hidden, norm, eps=values["rms_norm_eps"])
    q, k = (
        (x @ trainer_weights[f"{prefix}self_attn.{part}.weight"].T).reshape(200, heads, -1)
        for part, heads in (
            ("q_proj", values["num_attention_heads"]),
            ("k_proj", values["num_key_value_heads"]),
        )
    )
    size, stride = sizes["kernel_size"], sizes["kernel_stride"]
    means = [window_means(k, 0, (200 - f * size) // (f * stride) + 1, f * size, f * stride)
             for f in (1, COARSE_FACTOR)]  # fmt: skip
    selection = BlockSelection(size, stride, sizes["block_size"], 1, 4, 12, 0)
    scale = values["head_dim"] ** -0.5
    scores = fine_scores(
        q[[150, 190]], *means, np.array([150, 190]), scale=scale, selection=selection
    ).log()
    losses = []
    for row, source in enumerate((21, 64)):
        holds = [start <= source < start + size for start in range(0, means[0].shape[0] * 4, 4)]
        right = torch.tensor(holds)
        best = scores[row][:, right].amax(dim=1)
        others = scores[row][:, ~right].logsumexp(dim=1) + MARGIN
        losses.append(torch.nn.functional.softplus(others - best))
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


def _shapes():
    frontend = frontend_for(config())
    return frontend.expected_tensors(frontend.parse_config(config()))
