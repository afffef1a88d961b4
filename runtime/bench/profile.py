"""Where the time of recorded steps goes: a Chrome trace, and a summary by kernel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sala_compile.runtime.artifact import Program
from sala_compile.runtime.bench.costs import Cost, CostModel
from sala_compile.runtime.bench.recording import Call, Recording, Turn

MICRO = 1e6


@dataclass(slots=True)
class KernelTime:
    """All calls of one kernel in the recorded steps of one kind of work.

    `seconds`, `bytes` and `operations` are those of all calls together, `turns` the steps of the
    model that they belong to.
    """

    work: str
    kernel: str
    family: str
    calls: int = 0
    turns: int = 0
    seconds: float = 0.0
    bytes: int = 0
    operations: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """The recordings of one artifact's target."""

    program: Program
    target: str
    costs: CostModel
    recordings: Sequence[Recording]

    def kernels(self) -> list[KernelTime]:
        """The time of every kernel in clean steps (in all if none was clean), longest first."""
        found: dict[tuple[str, str], KernelTime] = {}
        for turns in _counted(self.recordings):
            for turn in turns:
                for call, cost in self._costed(turn):
                    step = self._step(call)
                    key = (turn.work, step.kernel)
                    entry = found.setdefault(key, KernelTime(turn.work, step.kernel, step.family))
                    entry.calls += 1
                    entry.turns = len(turns)
                    entry.seconds += call.end - call.begin
                    entry.bytes += cost.bytes
                    entry.operations += cost.operations
        order = {"prefill": 0, "decode": 1}
        return sorted(found.values(), key=lambda each: (order[each.work], -each.seconds))

    def outside(self) -> dict[str, float]:
        """The part of the time outside of kernels, in the counted steps of each kind of work."""
        whole: dict[str, float] = {}
        inside: dict[str, float] = {}
        for turns in _counted(self.recordings):
            for turn in turns:
                whole[turn.work] = whole.get(turn.work, 0.0) + turn.sample.seconds
                inside[turn.work] = inside.get(turn.work, 0.0) + turn.kernel_seconds
        return {work: max(0.0, 1 - inside[work] / whole[work]) for work in whole}

    def trace(self) -> dict[str, Any]:
        """The Chrome trace of every recorded step: an event for each kernel call."""
        turns = [turn for recording in self.recordings for turn in recording.turns]
        start = min((turn.begin for turn in turns), default=0.0)
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": 1, "tid": 1, "args": {"name": self.target}},
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "steps"}},
        ]
        for turn in turns:
            events.append(_turn_event(turn, start))
            events += [self._event(call, cost, start) for call, cost in self._costed(turn)]
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def _event(self, call: Call, cost: Cost, start: float) -> dict[str, Any]:
        step, seconds = self._step(call), call.end - call.begin
        layer = {} if step.layer is None else {"layer": step.layer}
        return {
            "ph": "X",
            "name": step.family if step.layer is None else f"{step.family} {step.layer}",
            "cat": call.phase.value,
            "pid": 1,
            "tid": 1,
            "ts": (call.begin - start) * MICRO,
            "dur": seconds * MICRO,
            "args": {
                "kernel": step.kernel,
                "step": call.step,
                **layer,
                "bytes": cost.bytes,
                "operations": cost.operations,
                "bytes_per_second": cost.bytes / seconds,
                "operations_per_second": cost.operations / seconds,
            },
        }

    def _costed(self, turn: Turn) -> Iterator[tuple[Call, Cost]]:
        """The calls of a step of the model with what each must move and compute."""
        costs = {
            phase: self.costs.steps(phase, turn.live)
            for phase in dict.fromkeys(call.phase for call in turn.calls)
        }
        return ((call, costs[call.phase][call.step]) for call in turn.calls)

    def _step(self, call: Call) -> Any:
        return self.program.targets[self.target].phases[call.phase].steps[call.step]


def _counted(recordings: Sequence[Recording]) -> Iterator[list[Turn]]:
    """The steps that count, of each kind of work: the clean ones, or all if none was clean."""
    turns = [turn for recording in recordings for turn in recording.turns]
    for work in ("prefill", "decode"):
        own = [turn for turn in turns if turn.work == work]
        counted = [turn for turn in own if turn.sample.clean] or own
        if counted:
            yield counted


def _turn_event(turn: Turn, start: float) -> dict[str, Any]:
    live = turn.live
    return {
        "ph": "X",
        "name": f"{turn.work} of {live.tokens * live.sequences} tokens at {live.history}",
        "cat": "step",
        "pid": 1,
        "tid": 1,
        "ts": (turn.begin - start) * MICRO,
        "dur": turn.sample.seconds * MICRO,
        "args": {
            "sequences": live.sequences,
            "tokens": live.tokens,
            "history": live.history,
            "clean": turn.sample.clean,
        },
    }
