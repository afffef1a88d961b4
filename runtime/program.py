"""The steps of an artifact as prepared calls: functions and arguments bound once."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from runtime.artifact import PhaseName, Program
from runtime.device import CpuDevice

Hook = Callable[[], None]
Note = Callable[[int, float, float], None]


class PreparedPhase:
    """One phase: `calls[i]` is step i as (kernel, arguments)."""

    def __init__(self, calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        self.calls = tuple(calls)

    def run(self) -> None:
        """Run every step."""
        for kernel, arguments in self.calls:
            kernel(*arguments)

    def run_observed(self, hooks: Mapping[int, Sequence[Hook]]) -> None:
        """Run every step, and after step i the hooks of i."""
        for index, (kernel, arguments) in enumerate(self.calls):
            kernel(*arguments)
            for hook in hooks.get(index, ()):
                hook()


class RecordedPhase(PreparedPhase):
    """A phase that tells of every step it runs, when it began and when it ended (perf_counter)."""

    def __init__(self, phase: PreparedPhase, note: Note) -> None:
        """`note` is told the index of a step, its begin and its end."""
        super().__init__(phase.calls)
        self._note = note

    def run(self) -> None:
        """Run every step and note each."""
        for index, (kernel, arguments) in enumerate(self.calls):
            begin = perf_counter()
            kernel(*arguments)
            self._note(index, begin, perf_counter())


class PreparedProgram:
    """All phases of a target, bound to buffers."""

    def __init__(
        self, program: Program, target: str, device: CpuDevice, tensors: Mapping[str, Any]
    ) -> None:
        """Look up every kernel; ArtifactError where the library lacks one."""
        self.phases: dict[PhaseName, PreparedPhase] = {}
        for name, phase in program.targets[target].phases.items():
            self.phases[name] = PreparedPhase(
                [
                    (device.kernel(step.kernel), tuple(tensors[value] for value in step.arguments))
                    for step in phase.steps
                ]
            )
