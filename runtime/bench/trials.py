"""A process that tries builds of an artifact's kernels on operands of the running model.

`serve` is all of it: the compiler calls the methods of `Trials` there, and stays out itself.
"""

import os
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import sala_compile
from sala_compile.runtime.artifact import PhaseName
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.artifact.tuning import KernelBuild, KernelTrial, TunedCase
from sala_compile.runtime.bench.cases import KernelCase, capturing
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe
from sala_compile.runtime.bench.costs import Live
from sala_compile.runtime.bench.recording import Recording
from sala_compile.runtime.common.timing import Sample, Stopwatch, sample, summarise
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.errors import SalaError

HOPELESS = 1.1
"""A candidate so many times slower in every case is not sampled again."""
LEAST_PAIRS = 3
MOST_TURNS = 4
"""Samples for each clean one that is wanted, at most."""

Calls = list[Any]
Samples = tuple[list[Sample], list[Sample]]
"""The samples of a build, and of the default."""


class Trials:
    """The model, and cases of its kernels."""

    def __init__(self, path: Path, target: str, threads: int, length: int) -> None:
        """Load the model, read a text of `length` tokens and take the cases on the way."""
        self._model = sala_compile.load(path, context=length + 4, threads=threads, target=target)
        self._artifact, self._target = self._model.artifact, target
        self._threads = threads
        self._probe = CeilingProbe(self._artifact, target, threads)
        self._cases: dict[tuple[PhaseName, str], KernelCase] = {}
        self._recording = Recording()
        self._libraries: dict[Path, CpuDevice] = {}
        self._read(length)

    def kernels(self) -> dict[str, dict[str, float]]:
        """Every kernel with the seconds of its calls, by the kind of work."""
        found: dict[str, dict[str, float]] = {}
        for turn in self._recording.turns[-2:]:
            for call in turn.calls:
                phase = self._artifact.program.targets[self._target].phases[call.phase]
                own = found.setdefault(phase.steps[call.step].kernel, {})
                own[turn.work] = own.get(turn.work, 0.0) + call.end - call.begin
        return found

    def trial(
        self, build: KernelBuild, default: KernelBuild, pairs: int, seconds: float
    ) -> list[KernelTrial]:
        """Compare a build with the default: results first, then times in turn.

        Until `pairs` samples of both are clean, or the build is hopeless, or time is over.
        """
        end = time.monotonic() + seconds
        cases = [case for place, case in self._cases.items() if place[1] == build.symbol]
        calls = [(self._calls(case, build), self._calls(case, default)) for case in cases]
        compared = [
            case.compare(case.results(own[0]), case.results(other[0]))
            for case, (own, other) in zip(cases, calls, strict=True)
        ]
        samples: list[Samples] = [([], []) for _ in cases]
        for turn in range(MOST_TURNS * pairs):
            for case, sides, taken in zip(cases, calls, samples, strict=True):
                for side in (0, 1) if turn % 2 else (1, 0):
                    taken[side].append(self._sample(case.phase, sides[side]))
            hopeless = all(_ratio(*taken) > HOPELESS for taken in samples)
            enough = all(_clean_pairs(*taken) >= pairs for taken in samples)
            over = time.monotonic() > end
            if enough or (turn + 1 >= LEAST_PAIRS and (hopeless or over)):
                break
        return [
            KernelTrial(_timed(case, *taken), *difference)
            for case, taken, difference in zip(cases, samples, compared, strict=True)
        ]

    def _sample(self, phase: PhaseName, calls: list[Any]) -> Sample:
        """The calls one after the other; few rows find their weights in memory, not in caches."""
        if phase is not PhaseName.PREFILL:
            self._probe.sweep()

        def work() -> None:
            for call in calls:
                call()

        return sample(work)

    def _calls(self, case: KernelCase, build: KernelBuild) -> Calls:
        if build.library not in self._libraries:
            libraries = {self._target: OpenFile.at(build.library)}
            artifact = replace(self._artifact, libraries=libraries)
            device = CpuDevice(artifact, self._target, self._threads)
            device.open()
            self._libraries[build.library] = device
        return case.calls(
            self._libraries[build.library].kernel(case.symbol),
            build.workspaces,
            self._model.plan.symbols,
            single=case.phase is PhaseName.PREFILL,
        )

    def _read(self, length: int) -> None:
        """Prefill and one step of decode, recorded; then the last chunk and a step again, taken."""
        vocabulary = self._model.vocabulary
        tokens = np.random.default_rng(0).integers(0, vocabulary, length).astype(np.int32)
        with self._model.sequence() as sequence:
            done = 0
            watch = Stopwatch()

            def progress(count: int) -> None:
                nonlocal done, watch
                live = Live(1, count - done, done, length)
                self._recording.finish(live, watch.began, watch.lap())
                done, watch = count, Stopwatch()

            with self._model.wrapped(self._recording.wrap):
                sequence.append(tokens, progress)
                watch = Stopwatch()
                sequence.append(tokens[:1], lambda count: None)
                self._recording.finish(Live(1, 1, length, length + 1), watch.began, watch.lap())
            sequence.close()
        capture = capturing(self._artifact.program, self._target, self._cases)
        with self._model.sequence() as sequence, self._model.wrapped(capture):
            sequence.append(tokens)
            sequence.append(tokens[:1])


def _clean_pairs(own: list[Sample], default: list[Sample]) -> int:
    return sum(a.clean and b.clean for a, b in zip(own, default, strict=True))


def _ratio(own: list[Sample], default: list[Sample]) -> float:
    return median(each.seconds for each in own) / median(each.seconds for each in default)


def _timed(case: KernelCase, own: list[Sample], default: list[Sample]) -> TunedCase:
    found, other = summarise(own), summarise(default)
    return TunedCase(
        work=case.phase.value,
        rows=case.rows,
        default_seconds=other.median,
        tuned_seconds=found.median,
        clean=min(found.clean, other.clean),
        samples=found.total,
    )


def serve(connection: Connection, path: Path, target: str, threads: int, length: int) -> None:
    """Answer (method, arguments) with results or SalaErrors until the other side ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side gets it, and ends this one
    os.dup2(2, 1)  # what a library prints must not get into a report
    trials: Trials | None = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            if trials is None:
                trials = Trials(path, target, threads, length)
            connection.send(getattr(trials, method)(*arguments))
        except SalaError as error:
            connection.send(error)
