"""A process that tries builds of an artifact's kernels on operands of the running model.

    python -m sala_compile.runtime.bench.trials NAME.sala TARGET THREADS LENGTH

It reads one JSON request a line and answers with one line; `runtime.errors` come as `error`. The
caller needs no more than this protocol, and the compiler stays out of the process.
"""

import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import sala_compile
from sala_compile.runtime.artifact import PhaseName, Value
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.bench.cases import Capturing, Case
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe
from sala_compile.runtime.bench.costs import Live
from sala_compile.runtime.bench.recording import Recording, calls_of
from sala_compile.runtime.common.timing import Sample, Stopwatch, sample, summarise
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.errors import SalaError

HOPELESS = 1.1
"""A candidate so many times slower in every case is not sampled again."""
LEAST_PAIRS = 3
MOST_TURNS = 4
"""Samples for each clean one that is wanted, at most."""


class Trials:
    """The model, cases of its kernels, and the default build that others are compared with."""

    def __init__(self, path: Path, target: str, threads: int, length: int) -> None:
        """Load the model, read a text of `length` tokens and take the cases on the way."""
        self._model = sala_compile.load(path, context=length + 4, threads=threads, target=target)
        self._artifact, self._target = self._model.artifact, target
        self._threads = threads
        self._probe = CeilingProbe(self._artifact, target, threads)
        self._cases: dict[tuple[PhaseName, str], Case] = {}
        self._recording = Recording()
        self._libraries: dict[str, CpuDevice] = {}
        self._default: dict[tuple[PhaseName, str], list[Any]] = {}
        self._read(length)

    def kernels(self) -> dict[str, Any]:
        """Every kernel with the seconds of its calls, by the kind of work."""
        found: dict[str, dict[str, float]] = {}
        for turn in self._recording.turns[-2:]:
            for call in turn.calls:
                phase = self._artifact.program.targets[self._target].phases[call.phase]
                own = found.setdefault(phase.steps[call.step].kernel, {})
                own[turn.work] = own.get(turn.work, 0.0) + call.end - call.begin
        return {"kernels": found}

    def default(self, symbol: str, library: str, workspaces: list[Any]) -> dict[str, Any]:
        """Make this build the one that trials of the kernel are compared with."""
        self._default = {
            place: self._calls(case, library, workspaces) for place, case in self._own(symbol)
        }
        return {}

    def trial(
        self, symbol: str, library: str, workspaces: list[Any], pairs: int, seconds: float
    ) -> dict[str, Any]:
        """Compare a build with the default: results first, then times in turn.

        Until `pairs` samples of both are clean, or the build is hopeless, or time is over.
        """
        end = time.monotonic() + seconds
        answers: dict[PhaseName, dict[str, Any]] = {}
        calls: dict[PhaseName, tuple[list[Any], list[Any]]] = {}
        for place, case in self._own(symbol):
            own, default = self._calls(case, library, workspaces), self._default[place]
            compared = case.compare(case.results(own[0]), case.results(default[0]))
            answers[place[0]] = {"work": place[0].value, "rows": case.rows, **asdict(compared)}
            calls[place[0]] = own, default
        samples: dict[PhaseName, tuple[list[Sample], list[Sample]]] = {
            phase: ([], []) for phase in calls
        }
        for turn in range(MOST_TURNS * pairs):
            for phase, sides in calls.items():
                for side in (0, 1) if turn % 2 else (1, 0):
                    samples[phase][side].append(self._sample(phase, sides[side]))
            hopeless = all(_ratio(*taken) > HOPELESS for taken in samples.values())
            enough = all(_clean_pairs(*taken) >= pairs for taken in samples.values())
            over = time.monotonic() > end
            if enough or (turn + 1 >= LEAST_PAIRS and (hopeless or over)):
                break
        for phase, (own, default) in samples.items():
            answers[phase] |= {"own": _seconds(own), "default": _seconds(default)}
        return {"cases": list(answers.values())}

    def _sample(self, phase: PhaseName, calls: list[Any]) -> Sample:
        """The calls one behind the other; few rows find their weights in memory, not in caches."""
        if phase is not PhaseName.PREFILL:
            self._probe.sweep()

        def work() -> None:
            for call in calls:
                call()

        return sample(work)

    def _own(self, symbol: str) -> list[tuple[tuple[PhaseName, str], Case]]:
        return [(place, case) for place, case in self._cases.items() if place[1] == symbol]

    def _calls(self, case: Case, library: str, workspaces: list[Any]) -> list[Any]:
        if library not in self._libraries:
            libraries = {self._target: OpenFile.at(Path(library))}
            artifact = replace(self._artifact, libraries=libraries)
            device = CpuDevice(artifact, self._target, self._threads)
            device.open()
            self._libraries[library] = device
        wanted = [Value.model_validate(each) for each in workspaces]
        return case.calls(
            self._libraries[library].kernel(case.symbol),
            wanted,
            self._model.plan.symbols,
            single=case.phase is PhaseName.PREFILL,
        )

    def _read(self, length: int) -> None:
        """Prefill and one step of decode, recorded; then the last chunk and a step again, taken."""
        program = self._artifact.program
        own = program.targets[self._target]
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
        with (
            self._model.sequence() as sequence,
            self._model.wrapped(
                lambda bound: Capturing(calls_of(bound), own, program, self._cases)
            ),
        ):
            sequence.append(tokens)
            sequence.append(tokens[:1])


def _clean_pairs(own: list[Sample], default: list[Sample]) -> int:
    return sum(a.clean and b.clean for a, b in zip(own, default, strict=True))


def _ratio(own: list[Sample], default: list[Sample]) -> float:
    return median(each.seconds for each in own) / median(each.seconds for each in default)


def _seconds(samples: list[Sample]) -> dict[str, Any]:
    found = summarise(samples)
    return {"seconds": found.median, "clean": found.clean, "samples": found.total}


def _answer(trials: Trials, ask: str, request: dict[str, Any]) -> dict[str, Any]:
    match ask:
        case "kernels":
            return trials.kernels()
        case "default":
            return trials.default(**request)
        case "trial":
            return trials.trial(**request)
    raise AssertionError(f"there is no request {ask}")


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    path, target, threads, length = sys.argv[-4:]
    trials: Trials | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if trials is None:
                trials = Trials(Path(path), target, int(threads), int(length))
            answer = _answer(trials, request.pop("ask"), request)
        except SalaError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
