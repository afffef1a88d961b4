"""torch's side of the model benchmark: what is compiled computes what eager computes."""

from pathlib import Path

import pytest
import torch

from benchmarks.torch_compiled import CompiledSala
from benchmarks.torch_model import TorchSala
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from tests.support.checkpoints import tiny_config

CONFIG = tiny_config(sparse={"dense_len": 256})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("torch") / "tiny", CONFIG)


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(0, 131, (140,), generator=torch.Generator().manual_seed(0))


def test_fixed_shapes_compute_what_growing_ones_do(checkpoint: Path, ids: torch.Tensor) -> None:
    eager = TorchSala.load(checkpoint, torch.float32)
    fixed = CompiledSala.load(checkpoint, torch.float32)
    fixed.prepare(160, lambda step: step)
    for _ in range(2):  # the second time after a reset
        for model in (eager, fixed):
            model.reset()
        for tokens in (ids[:128], *ids[128:].split(1)):
            expected, found = eager.forward(tokens), fixed.forward(tokens)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert set(fixed.first_calls) == {128, 1}


def test_a_step_is_one_graph(checkpoint: Path, ids: torch.Tensor) -> None:
    model = CompiledSala.load(checkpoint, torch.float32)
    model.prepare(160, lambda step: torch.compile(step, backend="eager", fullgraph=True))
    plain = CompiledSala.load(checkpoint, torch.float32)
    plain.prepare(160, lambda step: step)
    for tokens in (ids[:64], *ids[64:67].split(1)):
        torch.testing.assert_close(model.forward(tokens), plain.forward(tokens))


@pytest.mark.parametrize("count", [65, 0])
def test_what_has_no_graph_is_refused(checkpoint: Path, ids: torch.Tensor, count: int) -> None:
    model = CompiledSala.load(checkpoint, torch.float32)
    model.prepare(160, lambda step: step)
    model.length = 0 if count else 1
    with pytest.raises(NotImplementedError):
        model.forward(ids[: count or 64])
