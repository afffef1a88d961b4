"""Every kernel call of some steps of a model, with its time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.bench.costs import Live
from sala_compile.runtime.common.timing import Sample
from sala_compile.runtime.devices.cpu.program import Call as KernelCall
from sala_compile.runtime.devices.cpu.program import CpuProgram
from sala_compile.runtime.devices.device import BoundProgram, Hooks, StepSizes
from sala_compile.runtime.errors import RequestError


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
    """Steps of a model, one after the other."""

    turns: list[Turn] = field(default_factory=list[Turn])
    _calls: list[Call] = field(default_factory=list[Call])

    def wrap(self, program: BoundProgram) -> BoundProgram:
        """The program, with every call recorded."""
        return WatchedProgram(program, self._timed)

    def finish(self, live: Live, begin: float, sample: Sample) -> None:
        """All calls since the last time were one step of the model."""
        self.turns.append(Turn(tuple(self._calls), live, begin, sample))
        self._calls.clear()

    def _timed(self, phase: PhaseName, step: int, calls: Sequence[KernelCall]) -> None:
        kernel, arguments = calls[step]
        begin = perf_counter()
        kernel(*arguments)
        self._calls.append(Call(phase, step, begin, perf_counter()))


class WatchedProgram:
    """A program whose calls are made by `watch`: it receives phase, step and the phase's calls."""

    def __init__(
        self, program: BoundProgram, watch: Callable[[PhaseName, int, Sequence[KernelCall]], None]
    ) -> None:
        """RequestError for a GPU, whose calls cannot be watched so."""
        self._program, self._watch = calls_of(program), watch

    @property
    def phases(self) -> frozenset[PhaseName]:
        """The phases that there are."""
        return self._program.phases

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Make every call of a phase."""
        assert hooks is None, "what is measured is not observed"
        self._program.enter()
        calls = self._program.calls[phase]
        for index in range(len(calls)):
            self._watch(phase, index, calls)

    def close(self) -> None:
        """Let go of the program."""
        self._program.close()


def calls_of(program: BoundProgram) -> CpuProgram:
    """The program as calls of kernels; RequestError for a GPU, whose calls cannot be timed so."""
    if not isinstance(program, CpuProgram):
        raise RequestError(
            "single kernels of a GPU are not timed by the runtime",
            expected="a CPU target",
            fix="use the tools of the GPU's maker",
        )
    return program
