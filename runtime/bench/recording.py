"""Every kernel call of some steps of a model, with its time."""

from dataclasses import dataclass, field
from functools import partial

from runtime.artifact import PhaseName
from runtime.bench.costs import Live
from runtime.program import PreparedPhase, RecordedPhase
from runtime.timing import Sample


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call: the phase, the index of its step there, begin and end (perf_counter)."""

    phase: PhaseName
    step: int
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the model: its calls, its live sizes, when it began, its time as a whole."""

    calls: tuple[Call, ...]
    live: Live
    begin: float
    sample: Sample

    @property
    def work(self) -> str:
        """Whether it is a step of prefill or of decode."""
        return "decode" if self.live.tokens == 1 else "prefill"

    @property
    def kernel_seconds(self) -> float:
        """Time inside kernels."""
        return sum(call.end - call.begin for call in self.calls)


@dataclass(slots=True)
class Recording:
    """Steps of a model, one behind the other."""

    turns: list[Turn] = field(default_factory=list)
    _calls: list[Call] = field(default_factory=list)

    def wrap(self, name: PhaseName, phase: PreparedPhase) -> PreparedPhase:
        """The phase, every call of which is taken down."""
        return RecordedPhase(phase, partial(self._note, name))

    def finish(self, live: Live, begin: float, sample: Sample) -> None:
        """All calls since the last time were one step of the model."""
        self.turns.append(Turn(tuple(self._calls), live, begin, sample))
        self._calls.clear()

    def _note(self, phase: PhaseName, step: int, begin: float, end: float) -> None:
        self._calls.append(Call(phase, step, begin, end))
