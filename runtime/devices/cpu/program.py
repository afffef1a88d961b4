"""The steps of a target as prepared calls: functions and arguments bound once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sala_compile.runtime.artifact import PhaseName, TargetProgram
from sala_compile.runtime.devices.device import Hooks, StepSizes
from sala_compile.runtime.devices.interrupts import is_main

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A kernel and its arguments."""
RUN_CALLS = "sala_run_calls"
"""The function of a library that runs its kernels one after the other (`run_calls.cpp`)."""
_TENSOR = 70
"""The type of a tensor among the arguments of a function: kTVMFFITensor."""


class CpuProgram:
    """All phases of a target, bound to buffers: `calls[phase][i]` is step i."""

    def __init__(
        self,
        target: TargetProgram,
        kernel: Callable[[str], Callable[..., Any]],
        tensors: Mapping[str, Any],
        enter: Callable[[], None],
        runner: Callable[..., Any] | None = None,
    ) -> None:
        """Look up every kernel; ArtifactError if the library has not all.

        `enter` is called before each run, on the thread that runs. `runner` is RUN_CALLS of the
        library; those of older artifacts have none, and Python makes every call.
        """
        self.enter = enter
        self.calls: dict[PhaseName, list[Call]] = {
            name: [
                (kernel(step.kernel), tuple(tensors[value] for value in step.arguments))
                for step in phase.steps
            ]
            for name, phase in target.phases.items()
        }
        self._runner = runner
        self._prepared = {
            name: _Prepared(calls) for name, calls in self.calls.items() if runner is not None
        }

    @property
    def phases(self) -> frozenset[PhaseName]:
        """The phases that there are."""
        return frozenset(self.calls)

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Run every step, which reads its sizes from the inputs; after step i the hooks of i.

        Other Python threads go on meanwhile. An interrupt of the main thread takes effect after
        the kernel that runs, in phases that may be long.
        """
        self.enter()
        if hooks is None and self._runner is not None and not _may_be_cut(phase):
            self._prepared[phase].run(self._runner)
            return
        after: Hooks = {} if hooks is None else hooks
        for index, (kernel, arguments) in enumerate(self.calls[phase]):
            kernel(*arguments)
            for hook in after.get(index, ()):
                hook()

    def close(self) -> None:
        """Release the buffers."""
        self.calls, self._prepared = {}, {}


class _Prepared:
    """Calls as the library reads them, while whoever has them keeps their functions and tensors."""

    def __init__(self, calls: Sequence[Call]) -> None:
        tensors = [[(_TENSOR, each.__chandle__()) for each in arguments] for _, arguments in calls]
        self._arguments = np.array([each for own in tensors for each in own], np.int64)
        first, counts = self._arguments.ctypes.data, [len(own) for own in tensors]
        places = first + self._arguments.itemsize * 2 * (np.cumsum(counts) - counts)
        functions: list[Any] = [function for function, _ in calls]
        self._calls = np.array(
            [
                (function.__chandle__(), place, count)
                for function, place, count in zip(functions, places, counts, strict=True)
            ],
            np.int64,
        )

    def run(self, runner: Callable[..., Any]) -> None:
        """Make all of them, without Python."""
        runner(self._calls.ctypes.data, len(self._calls))


def _may_be_cut(phase: PhaseName) -> bool:
    """Whether an interrupt may have to end a phase between its kernels."""
    return phase is PhaseName.PREFILL and is_main()
