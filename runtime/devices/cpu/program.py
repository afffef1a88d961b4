"""The steps of a target as prepared calls: functions and arguments bound once."""

from collections.abc import Callable, Mapping
from typing import Any

from sala_compile.runtime.artifact import PhaseName, TargetProgram
from sala_compile.runtime.devices.device import Hooks, StepSizes

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A kernel and its arguments."""


class CpuProgram:
    """All phases of a target, bound to buffers: `calls[phase][i]` is step i."""

    def __init__(
        self,
        target: TargetProgram,
        kernel: Callable[[str], Callable[..., Any]],
        tensors: Mapping[str, Any],
        enter: Callable[[], None],
    ) -> None:
        """Look up every kernel; ArtifactError if the library has not all.

        `enter` is called before each run, on the thread that runs.
        """
        self.enter = enter
        self.calls: dict[PhaseName, list[Call]] = {
            name: [
                (kernel(step.kernel), tuple(tensors[value] for value in step.arguments))
                for step in phase.steps
            ]
            for name, phase in target.phases.items()
        }

    @property
    def phases(self) -> frozenset[PhaseName]:
        """The phases that there are."""
        return frozenset(self.calls)

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Run every step, which reads its sizes from the inputs; after step i the hooks of i."""
        self.enter()
        if hooks is None:
            for kernel, arguments in self.calls[phase]:
                kernel(*arguments)
            return
        for index, (kernel, arguments) in enumerate(self.calls[phase]):
            kernel(*arguments)
            for hook in hooks.get(index, ()):
                hook()

    def close(self) -> None:
        """Release the buffers."""
        self.calls = {}
