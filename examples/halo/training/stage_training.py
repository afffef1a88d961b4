"""One stage of training: steps, curves, and a checkpoint from which it continues to the bit."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from examples.halo.files import read_lines, write_whole
from examples.halo.training.adam import Adam, Group, together
from examples.halo.training.schedule import Schedule

Loss = Callable[[int, int], Mapping[str, float]]
"""Of a step and a part of it: adds gradients, each part's share, and gives values for the curve."""
STATE, CURVE = "state.pt", "curve.jsonl"


class OutOfTime(Exception):
    """The minutes of this run are over; the state is saved, and the same command continues."""


@dataclass
class Clock:
    """The time that this run may take; None for any. `started` is a monotonic second."""

    minutes: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """Minutes that are left, 0 at least; None without an end."""
        if self.minutes is None:
            return None
        return max(0.0, self.minutes - (time.monotonic() - self.started) / 60)

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        taken = time.monotonic() - self.started
        return self.minutes is not None and taken >= 60 * self.minutes


@dataclass
class StageTraining:
    """The steps of a stage over named parameters; its files lie in `folder`.

    A checkpoint holds parameters, optimiser, step, seconds and torch's random states. Texts and
    all else follow from seed and step. The curve is cut back to the checkpoint where it is newer.
    """

    folder: Path
    parameters: Mapping[str, torch.Tensor]
    schedule: Schedule
    seed: int
    clock: Clock
    save_seconds: float = 120.0
    report: Callable[[dict[str, Any], int, float], None] | None = None
    group: Group = together

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.optimiser = Adam(self.parameters, self.seed, self.group)
        self.step, self.seconds = 0, 0.0
        self._lines: list[dict[str, Any]] = []
        self._resume()

    @property
    def is_done(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.schedule.steps

    def run(self, loss: Loss) -> None:
        """Take the steps that are left; OutOfTime where the clock ends before them."""
        saved = time.monotonic()
        while not self.is_done:
            self._advance(loss)
            is_due = time.monotonic() - saved > self.save_seconds
            if is_due or self.is_done or self.clock.is_over:
                self.save()
                saved = time.monotonic()
            if self.clock.is_over and not self.is_done:
                raise OutOfTime

    def _advance(self, loss: Loss) -> None:
        began = time.monotonic()
        found: dict[str, float] = {}
        for part in range(self.schedule.parts):
            for name, value in loss(self.step, part).items():
                found[name] = found.get(name, 0.0) + value / self.schedule.parts
        rate = self.schedule.rate_at(self.step)
        norm = self.optimiser.step(rate, self.schedule.clip)
        self.step += 1
        self.seconds += time.monotonic() - began
        line = {
            "step": self.step,
            "tokens": self.step * self.schedule.step_tokens,
            "seconds": round(self.seconds, 3),
            "rate": rate,
            "norm": norm,
            **found,
        }
        self._lines.append(line)
        if self.report is not None:
            left = self.seconds / self.step * (self.schedule.steps - self.step)
            self.report(line, self.schedule.steps, left)

    def save(self) -> None:
        """Write the curve, then the checkpoint, each whole."""
        with write_whole(self.folder / CURVE) as file:
            file.writelines((json.dumps(line) + "\n").encode() for line in self._lines)
        state = {
            "parameters": {name: x.detach() for name, x in self.parameters.items()},
            "optimiser": self.optimiser.state(),
            "step": self.step,
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
            "device_random": [x.cpu() for x in torch.cuda.get_rng_state_all()],
        }
        with write_whole(self.folder / STATE) as file:
            torch.save(state, file)

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.is_file():
            torch.manual_seed(self.seed)
            return
        state = torch.load(path, weights_only=True, map_location="cpu")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["parameters"][name])
        self.optimiser.restore(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        torch.set_rng_state(state["random"])
        if state["device_random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["device_random"])
        self._lines = [x for x in read_lines(self.folder / CURVE) if x["step"] <= self.step]


@contextmanager
def trainable(weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Gradients of these tensors inside the block, and none afterwards."""
    for tensor in weights.values():
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor in weights.values():
            tensor.requires_grad_(False)
            tensor.grad = None
