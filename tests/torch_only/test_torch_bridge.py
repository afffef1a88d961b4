"""The captured graph as a torch module: golden logits, gradients, export, and back to a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from examples.torch.sala_module import SalaModule
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.reference import LightningForm
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
from tests.support.compiled import GOLDEN

torch.set_num_threads(1)
GOLDENS = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))
SMALL = tiny_config(mixers=(SPARSE, LIGHTNING), hidden=32, heads=2, kv_heads=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a sparse and a Lightning layer."""
    return write_checkpoint(tmp_path_factory.mktemp("small"), SMALL)


def _ids(count: int, texts: int = 1) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, SMALL["vocab_size"], (texts, count))
    return torch.from_numpy(values)


@pytest.mark.parametrize("name", GOLDENS)
def test_the_logits_are_those_of_the_golden_checkpoints(name: str):
    values = load_file(GOLDEN / name / "golden.safetensors")
    model = SalaModule.from_checkpoint(GOLDEN / name)
    with torch.no_grad():
        logits = model(torch.from_numpy(values["p0.input_ids"].astype(np.int64))[None, :])
    np.testing.assert_allclose(logits[0].numpy(), values["p0.prefill_logits"], atol=1e-3)


def test_several_texts_are_each_by_itself(small: Path):
    model = SalaModule.from_checkpoint(small, dtype=torch.float64)
    ids = _ids(70, texts=3)
    with torch.no_grad():
        together = model(ids)
        for text, logits in zip(ids, together, strict=True):
            torch.testing.assert_close(model(text[None, :])[0], logits)


@pytest.mark.parametrize("count", [20, 70])
@pytest.mark.parametrize("form", list(LightningForm))
def test_gradients_are_finite_differences(small: Path, count: int, form: LightningForm):
    """Of every tensor along a random direction of its own, below and beyond `dense_len`."""
    model = SalaModule.from_checkpoint(small, dtype=torch.float64, form=form)
    ids, step = _ids(count), 1e-6
    torch.manual_seed(0)

    def loss() -> torch.Tensor:
        return (model(ids) ** 2).mean()

    loss().backward()
    for name, parameter in model.named_parameters():
        direction = torch.randn_like(parameter)
        assert parameter.grad is not None, name
        expected = (parameter.grad * direction).sum().item()
        with torch.no_grad():
            parameter += step * direction
            above = loss().item()
            parameter -= 2 * step * direction
            below = loss().item()
            parameter += step * direction
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-4, abs=1e-8), name


def test_the_parameters_are_the_tensors_of_the_checkpoint_and_go_back(small: Path, tmp_path: Path):
    model = SalaModule.from_checkpoint(small)
    with Checkpoint.open(small) as checkpoint:
        assert {name: tuple(x.shape) for name, x in model.state_dict().items()} == {
            name: tensor.shape for name, tensor in checkpoint.tensors.items()
        }
    model.save(tmp_path / "saved", small)
    again = SalaModule.from_checkpoint(tmp_path / "saved")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_step_of_an_optimiser_lowers_the_loss():
    """Of a new model, whose stream of hidden states is there for losses of its own."""
    torch.manual_seed(0)
    model, ids = SalaModule(SMALL), _ids(65)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def loss() -> torch.Tensor:
        logits, hidden = model.with_hidden(ids[:, :-1])
        assert list(hidden) == [None, 0, 1]
        assert hidden[0].shape == (1, 64, 32)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    first = loss()
    first.backward()
    optimiser.step()
    assert loss().item() < first.item()


def test_an_exported_program_gives_the_same_logits(small: Path):
    """For one shape; its values are inputs of the program, not constants."""
    model = SalaModule.from_checkpoint(small)
    program = torch.export.export(model, (_ids(70),)).module()
    other = _ids(70).flip(1)
    with torch.no_grad():
        assert torch.equal(program(other), model(other))
