"""Training of a stage: the optimiser, its roundings, and going on from anywhere to the bit."""

import json
from pathlib import Path

import pytest
import torch

from examples.halo.training import adam as adam_module
from examples.halo.training import stage_training
from examples.halo.training.adam import BETAS, Adam, rounded_by_chance
from examples.halo.training.schedule import Schedule
from examples.halo.training.stage_training import (
    CURVE,
    Clock,
    OutOfTime,
    StageTraining,
    trainable,
)

torch.set_num_threads(1)
SCHEDULE = Schedule(steps=7, batch=2, parts=2, length=5, rate=1e-2, last_rate=1e-3)


class _Killed(Exception):
    """Stands for the end of the process."""


def _parameters(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {name: torch.randn(4, 3, generator=generator).to(dtype) for name in ("a", "b")}


def _train(folder: Path, killed_at: int | None = None, **fields: object) -> dict:
    parameters = _parameters(fields.pop("dtype", torch.float32))
    options = {"clock": Clock(), "save_seconds": 0.0} | fields
    training = StageTraining(folder, parameters, SCHEDULE, 5, **options)

    def loss(step: int, part: int) -> dict[str, float]:
        if (step, part) == (killed_at, 1):
            raise _Killed
        torch.manual_seed(step * 2 + part)
        noise = torch.rand(4, 3)
        found = sum((x.float() * noise - 1).square().sum() for x in parameters.values())
        (found / SCHEDULE.parts).backward()
        return {"loss": float(found.detach())}

    with trainable(parameters):
        training.run(loss)
    return parameters


@pytest.mark.parametrize("size", [1 << 24, 5])
def test_adam_is_adamw_without_decay(monkeypatch: pytest.MonkeyPatch, size: int):
    """Whole parameters at once, or slices of them."""
    monkeypatch.setattr(adam_module, "SLICE", size)
    ours, theirs = _parameters(), _parameters()
    for tensor in (*ours.values(), *theirs.values()):
        tensor.requires_grad_()
    adam = Adam(ours, 0)
    peer = torch.optim.AdamW(theirs.values(), lr=1e-2, betas=BETAS, weight_decay=0.0)
    for step in range(5):
        for weights in (ours, theirs):
            sum((x * (step + 1)).sin().sum() for x in weights.values()).backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        assert adam.step(1e-2, 1.0) == pytest.approx(float(norm))
        peer.step()
        peer.zero_grad()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)
            assert tensor.grad is None


def test_a_gradient_that_is_no_number_changes_nothing():
    weights = _parameters()
    before = {name: x.clone() for name, x in weights.items()}
    adam = Adam(weights, 0)
    for tensor in weights.values():
        tensor.grad = torch.full_like(tensor, float("nan"))
    with pytest.raises(FloatingPointError, match="nan"):
        adam.step(1e-2, 1.0)
    assert adam.taken == 0
    assert all(torch.equal(x, before[name]) for name, x in weights.items())


def test_rounding_by_chance_is_exact_on_average():
    chance = torch.Generator().manual_seed(0)
    kept = torch.tensor([1.0, -2.5, 0.0, 3e-30])
    assert torch.equal(rounded_by_chance(kept.bfloat16().float(), chance).float(), kept.bfloat16())
    for value in (1.0 + 2**-9, -1.0 - 3 * 2**-10, 1e-3):
        x = torch.full((200_000,), value)
        found = rounded_by_chance(x, chance).double()
        spacing = float(found.max() - found.min())
        assert 0 < spacing <= abs(value) * 2**-7
        assert found.mean().item() == pytest.approx(value, abs=4 * spacing / 200_000**0.5)


def test_bfloat16_parameters_take_small_steps():
    """Each is below half of the spacing, so that plain rounding would never move."""
    weights = {"a": torch.ones(4096, dtype=torch.bfloat16)}
    adam = Adam(weights, 1)
    for _ in range(64):
        weights["a"].grad = torch.ones_like(weights["a"])
        adam.step(2**-13, 1e9)
    assert weights["a"].float().mean().item() == pytest.approx(1 - 64 * 2**-13, abs=1e-3)
    assert adam.moments["a"][0].dtype == torch.bfloat16


def test_rates_rise_and_fall():
    schedule = Schedule(steps=1050, batch=1, parts=1, length=1, rate=1e-3, last_rate=1e-5)
    assert schedule.warm_up == 50
    assert schedule.rate_at(0) == pytest.approx(2e-5)
    assert schedule.rate_at(50) == pytest.approx(1e-3)
    assert schedule.rate_at(550) == pytest.approx((1e-3 + 1e-5) / 2)
    assert schedule.rate_at(1050) == pytest.approx(1e-5)
    of = Schedule.of_tokens(1000, batch=2, parts=3, length=10, rate=1.0, last_rate=1.0)
    assert (of.steps, of.step_tokens, of.rate_at(9)) == (16, 60, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("killed", range(7))
def test_a_stage_killed_anywhere_ends_with_the_same_weights(
    tmp_path: Path, killed: int, dtype: torch.dtype
):
    whole = _train(tmp_path / "whole", dtype=dtype)
    with pytest.raises(_Killed):
        _train(tmp_path / "parts", killed, dtype=dtype)
    parts = _train(tmp_path / "parts", dtype=dtype)
    for name, tensor in whole.items():
        assert torch.equal(parts[name], tensor)
    curves = [(tmp_path / name / CURVE).read_text().splitlines() for name in ("whole", "parts")]
    values = [[(x["step"], x["loss"]) for x in map(json.loads, lines)] for lines in curves]
    assert values[0] == values[1]
    assert [step for step, _ in values[0]] == list(range(1, 8))


def test_a_kill_between_saves_repeats_the_steps_since(tmp_path: Path):
    whole = _train(tmp_path / "whole", save_seconds=1e9)
    with pytest.raises(_Killed):
        _train(tmp_path / "parts", 4, save_seconds=1e9)
    parts = _train(tmp_path / "parts", save_seconds=1e9)
    assert all(torch.equal(parts[name], x) for name, x in whole.items())


@pytest.mark.parametrize("at", range(1, 9))
def test_a_kill_while_a_file_is_written_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
):
    """After `at` files: the curve may then be newer than the checkpoint."""
    whole = _train(tmp_path / "whole")
    written = 0
    real = stage_training.write_whole

    def write(path: Path) -> object:
        nonlocal written
        written += 1
        if written > at:
            path.with_name(f"{path.name}.part").write_bytes(b"half")
            raise _Killed
        return real(path)

    monkeypatch.setattr(stage_training, "write_whole", write)
    with pytest.raises(_Killed):
        _train(tmp_path / "parts")
    monkeypatch.undo()
    parts = _train(tmp_path / "parts")
    assert all(torch.equal(parts[name], x) for name, x in whole.items())
    lines = (tmp_path / "parts" / CURVE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 8))


def test_a_run_without_time_takes_one_step_and_saves_it(tmp_path: Path):
    whole = _train(tmp_path / "whole")
    for _ in range(SCHEDULE.steps - 1):
        with pytest.raises(OutOfTime):
            _train(tmp_path / "parts", clock=Clock(0.0), save_seconds=1e9)
    parts = _train(tmp_path / "parts", clock=Clock(0.0), save_seconds=1e9)
    assert all(torch.equal(parts[name], x) for name, x in whole.items())
