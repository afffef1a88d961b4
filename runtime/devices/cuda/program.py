"""The phases of a target on a GPU: prefill launched directly, the others as captured graphs."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from sala_compile.runtime.artifact import Phase, PhaseName, Symbol, TargetProgram
from sala_compile.runtime.devices.cuda.binding import BoundKernel, BoundLaunch, Sizes
from sala_compile.runtime.devices.cuda.driver import Driver, PreparedLaunch
from sala_compile.runtime.devices.cuda.library import KernelLibrary
from sala_compile.runtime.devices.cuda.memory import CudaMemory
from sala_compile.runtime.devices.device import Hooks, StepSizes
from sala_compile.runtime.devices.interrupts import Held
from sala_compile.runtime.errors import DeviceError

GRAPHS = "graph_bytes"
"""The name under which the memory of captured graphs is reported."""
_CAPACITIES = {
    "tokens": Symbol.TOKENS,
    "sequences": Symbol.SEQUENCES,
    "logit_rows": Symbol.LOGIT_ROWS,
}
Bucket = tuple[tuple[str, int], ...]
"""Sizes that a phase depends on, rounded up."""


class CudaProgram:
    """Every kernel of a target, its code loaded and its buffers bound.

    Grids are those of a bucket: sizes rounded up to a power of two, at most the capacity. What is
    prepared for a bucket is kept.
    """

    def __init__(
        self,
        target: TargetProgram,
        library: KernelLibrary,
        memory: CudaMemory,
        driver: Driver,
        stream: int,
    ) -> None:
        """Load and bind; ArtifactError if kernels and buffers do not fit together."""
        self._library = library
        self._memory = memory
        self._driver = driver
        self._stream = stream
        self._kernels = {name: self._bind(phase) for name, phase in target.phases.items()}
        self._symbols = {
            name: sorted({symbol for kernel in kernels for symbol in kernel.symbols})
            for name, kernels in self._kernels.items()
        }
        self._steps: dict[tuple[PhaseName, Bucket], list[list[PreparedLaunch]]] = {}
        self._graphs: dict[tuple[PhaseName, Bucket], int] = {}

    @property
    def phases(self) -> frozenset[PhaseName]:
        """The phases that there are."""
        return frozenset(self._kernels)

    def run(self, phase: PhaseName, sizes: StepSizes, hooks: Hooks | None = None) -> None:
        """Queue a phase; hooks wait for what they read."""
        bucket = self.bucket(phase, sizes)
        if hooks is None and phase is not PhaseName.PREFILL:
            self._driver.launch_graph(self._graph(phase, bucket), self._stream)
            return
        steps = self._prepared(phase, bucket)
        if hooks is None:
            self._driver.launch(chain.from_iterable(steps), self._stream)
            return
        for index, launches in enumerate(steps):
            self._driver.launch(launches, self._stream)
            for hook in hooks.get(index, ()):
                hook()

    def bucket(self, phase: PhaseName, sizes: StepSizes) -> Bucket:
        """The sizes that are launched for live ones."""
        symbols = self._memory.plan.symbols
        return tuple(
            (name, min(symbols[_CAPACITIES[name]], _rounded(getattr(sizes, name))))
            for name in self._symbols[phase]
        )

    def close(self) -> None:
        """Destroy the graphs, when they are done; a broken GPU keeps them."""
        graphs, self._graphs = self._graphs, {}
        with suppress(DeviceError):
            self._driver.synchronize(self._stream)
            for graph in graphs.values():
                self._driver.destroy_graph(graph)

    def _bind(self, phase: Phase) -> list[BoundKernel]:
        bound: list[BoundKernel] = []
        for step in phase.steps:
            kernel = self._library.kernel(step.kernel)
            buffers = [self._memory.buffers[name] for name in step.arguments]
            bound.append(BoundKernel(step.kernel, kernel, step.arguments, buffers))
            for launch in kernel.launches():
                self._library.function(launch)
        return bound

    def _prepared(self, phase: PhaseName, bucket: Bucket) -> list[list[PreparedLaunch]]:
        key = (phase, bucket)
        if key not in self._steps:
            self._steps[key] = [list(step) for step in self._prepare(phase, dict(bucket))]
        return self._steps[key]

    def _prepare(self, phase: PhaseName, sizes: Sizes) -> Iterator[Iterator[PreparedLaunch]]:
        for kernel in self._kernels[phase]:
            yield map(self._prepare_launch, kernel.launches(sizes))

    def _prepare_launch(self, launch: BoundLaunch) -> PreparedLaunch:
        info = launch.info
        function = self._library.function(info)
        return self._driver.prepare(
            function, launch.grid, info.threads, info.shared_bytes, launch.arguments
        )

    def _graph(self, phase: PhaseName, bucket: Bucket) -> int:
        """The captured launches of a phase for a bucket."""
        key = (phase, bucket)
        if key not in self._graphs:
            steps = [list(step) for step in self._prepare(phase, dict(bucket))]
            free = self._driver.memory_info()[0]
            with Held():
                self._graphs[key] = self._capture(steps)
            taken = free - self._driver.memory_info()[0]
            extras = self._memory.extras
            extras[GRAPHS] = extras.get(GRAPHS, 0) + max(0, taken)
        return self._graphs[key]

    def _capture(self, steps: list[list[PreparedLaunch]]) -> int:
        try:
            self._driver.begin_capture(self._stream)
            self._driver.launch(chain.from_iterable(steps), self._stream)
            return self._driver.end_capture(self._stream)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """End a capture that failed, if it has begun."""
        with suppress(DeviceError):  # the first error is the one to report
            self._driver.destroy_graph(self._driver.end_capture(self._stream))


def _rounded(size: int) -> int:
    return 1 << max(0, size - 1).bit_length()
