"""The steps of an artifact as prepared calls: functions and arguments bound once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.artifact import PhaseName, Program
from runtime.device import CpuDevice

Hook = Callable[[], None]


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
