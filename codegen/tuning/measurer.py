"""Trials in a process of their own, which runs the artifact and knows no compiler."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sala_compile
from sala_compile.runtime.artifact import Value
from sala_compile.runtime.errors import CompileError

PATIENCE = 5.0
"""Seconds in which the process of the trials has to end by itself."""
_ROOT = Path(sala_compile.__file__).parents[1]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from sala_compile.runtime.bench.trials import main; main()"
)
"""Not `-m`, which looks in the current directory first: a folder there may be called runtime."""


@dataclass(frozen=True, slots=True)
class Build:
    """A kernel as one of its schedules makes it: the library, and the workspaces it wants."""

    symbol: str
    library: Path
    workspaces: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class CaseTrial:
    """A build beside the default at one kind of work: median seconds of samples taken in turn.

    `equal` says that the results have the same bits; else `difference` is the largest one, beside
    `largest`, the largest value.
    """

    work: str
    rows: int
    equal: bool
    difference: float
    largest: float
    default_seconds: float
    own_seconds: float
    clean: int
    samples: int

    @property
    def gain(self) -> float:
        """How many times faster than the default."""
        return self.default_seconds / self.own_seconds


class TrialEnded(Exception):
    """The process died in a trial."""


class Measurer(Protocol):
    """Measures builds of kernels."""

    def kernels(self) -> dict[str, dict[str, float]]:
        """Every kernel with the seconds of its calls in a step, by the kind of work."""
        ...

    def default(self, build: Build) -> None:
        """Make `build` the one that trials of its kernel are compared with."""
        ...

    def trial(self, build: Build, pairs: int, seconds: float) -> list[CaseTrial]:
        """Compare with the default; TrialEnded where the build crashes."""
        ...


class TrialProcess:
    """A Measurer: a process that is started when it is first asked, and again when it died."""

    def __init__(self, artifact: Path, target: str, threads: int, length: int) -> None:
        """Nothing is started yet."""
        words = [str(artifact), target, str(threads), str(length)]
        self._command = [sys.executable, "-P", "-c", _START, str(_ROOT), *words]
        self._process: subprocess.Popen[str] | None = None
        self._defaults: dict[str, Build] = {}
        self._known: set[str] = set()

    def kernels(self) -> dict[str, dict[str, float]]:
        """Every kernel with the seconds of its calls in a step, by the kind of work."""
        return self._ask({"ask": "kernels"})["kernels"]

    def default(self, build: Build) -> None:
        """Make `build` the one that trials of its kernel are compared with."""
        self._defaults[build.symbol] = build
        self._ask({"ask": "default", **_request(build)})
        self._known.add(build.symbol)

    def trial(self, build: Build, pairs: int, seconds: float) -> list[CaseTrial]:
        """Compare with the default; TrialEnded where the build crashes."""
        if build.symbol not in self._known:
            self.default(self._defaults[build.symbol])
        request = {"ask": "trial", **_request(build), "pairs": pairs, "seconds": seconds}
        return [_case(answer) for answer in self._ask(request)["cases"]]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pass  # in the middle of a measurement, which is worth nothing now
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = process.wait()
            self._process = None
            self._known.clear()
            if request["ask"] == "trial":
                raise TrialEnded(f"exit code {code}")
            raise CompileError(
                f"the process that measures ended with exit code {code}",
                where=" ".join(self._command),
                fix="its error stands above",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise CompileError(answer["error"])
        return answer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,  # Ctrl-C is for this process, which then ends that one
            )
        return self._process


def _request(build: Build) -> dict[str, Any]:
    return {
        "symbol": build.symbol,
        "library": str(build.library),
        "workspaces": [each.model_dump(mode="json") for each in build.workspaces],
    }


def _case(answer: dict[str, Any]) -> CaseTrial:
    own, default = answer["own"], answer["default"]
    return CaseTrial(
        work=answer["work"],
        rows=answer["rows"],
        equal=answer["equal"],
        difference=answer["difference"],
        largest=answer["largest"],
        default_seconds=default["seconds"],
        own_seconds=own["seconds"],
        clean=min(own["clean"], default["clean"]),
        samples=own["samples"],
    )
