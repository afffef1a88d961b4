"""Device time of every step of a phase, with events on the runtime's own stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.roofline import Ceilings
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.step_costs import by_family, step_cost
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.engine.chunk import SequenceChunk

HEAD_START = 60_000_000
"""Cycles that the device sleeps first, so that every launch is queued before the first runs."""


@dataclass(slots=True)
class StepClock:
    """Takes the place of an observer: records an event after every step of a run."""

    steps: int
    stream: Any
    events: list[Any] = field(default_factory=list)

    def hooks(self, phase: PhaseName, rows: int) -> dict[int, list[Callable[[], None]]]:
        """Begin a run: an event before the first step, and one after each."""
        with torch.cuda.stream(self.stream):
            torch.cuda._sleep(HEAD_START)
        self.events = []
        self._record()
        return {index: [self._record] for index in range(self.steps)}

    def seconds(self) -> list[float]:
        """Seconds of each step, when all are done."""
        self.events[-1].synchronize()
        pairs = zip(self.events, self.events[1:], strict=False)
        return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]

    def _record(self) -> None:
        event = torch.cuda.Event(enable_timing=True)
        event.record(self.stream)
        self.events.append(event)


def profile(
    model: Any,
    text: Any,
    token_ids: np.ndarray,
    ceilings: Ceilings,
    predicted: Mapping[str, float],
    *,
    repeats: int,
) -> list[dict[str, Any]]:
    """Time by kernel family of one step that appends `token_ids` to copies of `text`.

    Of several repeats the median of each step counts; its floor is `step_cost` over the ceilings.
    `predicted` has the seconds of a call by a model, by symbol.
    """
    phase = PhaseName.PREFILL if len(token_ids) > 1 else PhaseName.DECODE
    artifact, target = model.artifact, model._device.target
    steps = artifact.program.targets[target].phases[phase].steps
    stream = torch.cuda.ExternalStream(model._device._stream)
    clock = StepClock(len(steps), stream)
    times = []
    for _ in range(repeats):
        with text.fork() as copy:
            length = len(copy) + len(token_ids)
            model.engine.store.reserve(copy.state, length)
            chunk = SequenceChunk(copy.state, token_ids, length, len(token_ids) == 1)
            model.engine.stepper.run([chunk], clock)
            times.append(clock.seconds())
    sizes = Sizes.released()
    costs = [step_cost(artifact, step, phase, sizes, len(token_ids), len(text)) for step in steps]
    rows = by_family(steps, np.median(times, axis=0).tolist(), costs, ceilings, predicted)
    return [{"phase": phase.value, **row} for row in rows]
