"""Tuning an artifact: its kernels in the order of their time, a record after each."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.schedules import Schedules, compiler_versions, schedule_values
from sala_compile.codegen.program.buffers import workspace
from sala_compile.codegen.targets import x86
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.tuning.measurer import TrialProcess
from sala_compile.codegen.tuning.record import TuningFile
from sala_compile.codegen.tuning.search import Clock, Search, SearchResult, Tell
from sala_compile.codegen.write.cpu_library import compile_library
from sala_compile.runtime.artifact import Artifact, KernelInfo, Value
from sala_compile.runtime.artifact.contract import workspaces_digest
from sala_compile.runtime.artifact.tuning import KernelBuild, TunedKernel, Tuning, tuned_workspaces
from sala_compile.runtime.errors import CompileError

Compiler = Callable[[Mapping[str, Any], CpuTarget, Path], object]
SMALLEST_SHARE = 0.005
"""A kernel with less of the time than this, in every kind of work, is left as it is."""


@dataclass(frozen=True, slots=True)
class TuningJob:
    """What is tuned: a target of an artifact, into the file `output`, in about `seconds`.

    With `again` an earlier tuning at `output` is forgotten.
    """

    artifact: Artifact
    target: str
    output: Path
    threads: int
    length: int
    seconds: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A kernel to be tuned, and the largest part of the time that it has in a kind of work."""

    kernel: KernelInfo
    share: float


class Tuner:
    """Goes through the kernels; what was finished before is taken from the file."""

    def __init__(
        self,
        job: TuningJob,
        measurer: TrialProcess,
        *,
        clock: Clock = time.monotonic,
        compiler: Compiler = compile_library,
    ) -> None:
        """Check the artifact and an earlier tuning; `compiler` makes the candidates."""
        self._job, self._measurer, self._clock = job, measurer, clock
        self._compile = compiler
        self._target = target_of(job.artifact, job.target)
        self._deadline = clock() + job.seconds
        check_versions(job.artifact)
        kernels = job.artifact.manifest.kernels
        self._own = [kernel for kernel in kernels if kernel.target == job.target]
        symbols = [kernel.symbol for kernel in self._own]
        self._file = TuningFile(job.output, symbols, again=job.again)
        self.tuning = self._file.begun(self._fresh())

    def works(self) -> list[Work]:
        """The kernels that are worth it and have schedules to choose from, longest first."""
        times = self._measurer.kernels()
        totals: dict[str, float] = {}
        for own in times.values():
            for work, seconds in own.items():
                totals[work] = totals.get(work, 0.0) + seconds
        found = [
            Work(kernel, max(own / totals[work] for work, own in times[kernel.symbol].items()))
            for kernel in self._own
            if kernel.symbol in times
        ]
        chosen = [work for work in found if work.share >= SMALLEST_SHARE]
        return sorted(
            (work for work in chosen if family(work.kernel.family).axes is not None),
            key=lambda work: -work.share,
        )

    def left(self, works: list[Work]) -> list[Work]:
        """Those of the kernels without a record, then those whose search was cut short."""
        records = self.tuning.kernels
        fresh = [work for work in works if work.kernel.symbol not in records]
        known = [work for work in works if work.kernel.symbol in records]
        return fresh + [work for work in known if not records[work.kernel.symbol].complete]

    def tune(self, work: Work, rest: float, tell: Tell) -> TunedKernel | None:
        """Search one kernel within its part of the time that is left, and write the record.

        `rest` is the sum of the shares of all kernels that are left. None if time was over
        before a candidate was tried.
        """
        now = self._clock()
        if now >= self._deadline:
            return None
        chosen, spec = self._family(work.kernel)
        default = chosen.default_schedule(spec, self._target)
        deadline = now + (self._deadline - now) * work.share / rest
        with tempfile.TemporaryDirectory(prefix="sala-tune-") as folder:
            search = Search(
                self._measurer,
                self._builder(work.kernel, Path(folder)),
                deadline,
                clock=self._clock,
                tell=tell,
            )
            found = search.run(default, chosen.axes(spec, self._target))
        if not found.tried and not found.complete:
            return None
        record = self._record(work.kernel, found, found.schedule == default)
        before = self.tuning.kernels.get(work.kernel.symbol)
        if before is not None and not record.complete and before.gain > record.gain:
            return before
        kernels = {**self.tuning.kernels, work.kernel.symbol: record}
        self.tuning = self.tuning.model_copy(update={"kernels": kernels, "library": None})
        self._file.write(self.tuning)
        return record

    def finish(self) -> None:
        """Compile all kernels with the schedules that were found, next to the tuning file."""
        schedules = Schedules(self.tuning.kernels)
        functions = {
            kernel.symbol: family(kernel.family).build(
                dict(kernel.spec), self._target, schedules.of(kernel.symbol)
            )
            for kernel in self._own
        }
        contract = self._job.artifact.contract(self._job.target)
        digest = workspaces_digest(tuned_workspaces(self.tuning))
        contract = contract.model_copy(update={"workspaces": digest})
        info = self._file.write_library(functions, self._target, contract)
        self.tuning = self.tuning.model_copy(update={"library": info})
        self._file.write(self.tuning)

    def _builder(self, kernel: KernelInfo, folder: Path) -> Callable[[Any], KernelBuild]:
        chosen, spec = self._family(kernel)
        made: dict[str, KernelBuild] = {}

        def build(schedule: Any) -> KernelBuild:
            key = repr(schedule)
            if key not in made:
                function = chosen.build(dict(kernel.spec), self._target, schedule)
                library = folder / f"{len(made)}.so"
                self._compile({kernel.symbol: function}, self._target, library)
                made[key] = KernelBuild(kernel.symbol, library, _workspaces(chosen, spec, schedule))
            return made[key]

        return build

    def _record(self, kernel: KernelInfo, found: SearchResult, is_default: bool) -> TunedKernel:
        chosen, spec = self._family(kernel)
        return TunedKernel(
            family=kernel.family,
            spec=kernel.spec,
            schedule=schedule_values(found.schedule),
            is_default=is_default,
            workspaces=_workspaces(chosen, spec, found.schedule),
            cases=tuple(trial.case for trial in found.trials),
            differs=max((trial.difference for trial in found.trials), default=0.0),
            tried=found.tried,
            refused=found.refused,
            complete=found.complete,
        )

    def _family(self, kernel: KernelInfo) -> tuple[Any, Any]:
        chosen = family(kernel.family)
        return chosen, chosen.spec.parse(kernel.spec)

    def _fresh(self) -> Tuning:
        """A tuning without results."""
        return Tuning(
            artifact=self._job.artifact.manifest.digest,
            target=self._job.target,
            processor=self._target.name,
            dtype=self._job.artifact.manifest.dtype,
            threads=self._job.threads,
            length=self._job.length,
            versions=compiler_versions(),
        )


def target_of(artifact: Artifact, name: str) -> CpuTarget:
    """The target that a library of the artifact was compiled for."""
    if name.partition(":")[0] != "cpu":
        raise CompileError(
            f"schedules of the target {name!r} cannot be searched", expected="a CPU target"
        )
    if ":" in name:
        return CpuTarget.parse(name)
    processor = artifact.manifest.targets[name].mcpu
    return replace(CpuTarget(processor), amx=x86.amx_flags(processor) <= x86.host_flags())


def check_versions(artifact: Artifact) -> None:
    """Raise CompileError unless these versions made the artifact and it names its specs."""
    where = str(artifact.directory)
    for name, version in compiler_versions().items():
        found = artifact.manifest.versions.get(name)
        if found != version:
            raise CompileError(
                f"the artifact was made with {name} {found}, this is {version}",
                where=where,
                fix="compile again with this version, then tune",
            )
    if not any(kernel.spec for kernel in artifact.manifest.kernels):
        raise CompileError(
            "the artifact does not name the constants of its kernels",
            where=where,
            fix="compile again with this version, then tune",
        )


def _workspaces(chosen: Any, spec: Any, schedule: Any) -> tuple[Value, ...]:
    return tuple(map(workspace, chosen.workspaces(spec, schedule)))
