"""Every part in the order of its value, within one limit of time; a second call goes on.

    python -m benchmarks.gpu.run build/gpu/carry build/gpu/carry/results --seconds 480

Each part is a process of its own, since a GPU that failed once fails until its process ends; checks
that ended so are begun again, behind the row that failed. Exit code 0: all there is was measured
and holds; 1: something does not hold; 75: rows are left for another call.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.budget import STOPPED, Stopped, stop_when_told
from benchmarks.gpu.carried import unpacked
from benchmarks.gpu.report import render
from benchmarks.gpu.results import FILE, Document, read_results

LEAST = 8.0
"""Seconds below which no part is begun."""
GRACE = 4.0
"""Seconds between the end of a part's own time and SIGTERM, and from there to SIGKILL."""
ENDS = (0, STOPPED, -signal.SIGTERM)
"""Exit codes of parts in which nothing went wrong."""
RESERVE = 2.0
"""Seconds for the report."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A part: its name, the most seconds of all its processes in a call, its module and options.

    `restarts`: each row stands for itself, so that a process that failed is begun again behind it.
    """

    name: str
    seconds: float
    command: tuple[str, ...]
    restarts: bool = False

    def arguments(self, prepared: Path, results: Path, seconds: float) -> list[str]:
        """The command line of the part."""
        module, *options = self.command
        more = ["--part", self.name, "--seconds", f"{seconds:.1f}"]
        return [sys.executable, "-m", module, str(prepared), str(results), *more, *options]


INT4 = ("--artifact", "int4", "--memory", "16GiB", "--chunk", "8192")
PARTS = (
    Planned("environment", 40, ("benchmarks.gpu.environment",)),
    Planned("racecheck", 60, ("benchmarks.gpu.racecheck",)),
    Planned("kernels", 120, ("benchmarks.gpu.kernel_checks",), restarts=True),
    Planned("golden", 90, ("benchmarks.gpu.golden",), restarts=True),
    Planned("model-int4", 240, ("benchmarks.gpu.model", *INT4)),
    Planned("peers", 60, ("benchmarks.gpu.peers",), restarts=True),
    Planned("model-bf16", 130, ("benchmarks.gpu.model", "--artifact", "bf16")),
    Planned("dense", 90, ("benchmarks.gpu.dense",)),
    Planned("fla", 90, ("benchmarks.gpu.fla_peers",)),
)
"""Checks before times, ours before peers, and last what compiles."""

Start = Callable[[list[str], float], int]
"""Runs a command for at most so many seconds; its exit code."""


def run_parts(
    parts: Sequence[Planned],
    prepared: Path,
    results: Path,
    seconds: float,
    start: Start,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run what is not complete as long as there is time; the exit code."""
    end = clock() + seconds - RESERVE
    for part in parts:
        until = min(clock() + part.seconds, end - 2 * GRACE)
        while not _complete(results, part.name):
            given = until - clock()
            if given < LEAST:
                print(f"== {part.name}: left for another call", flush=True)
                break
            before = len(Document(results, part.name).rows)
            print(f"== {part.name}: at most {given:.0f} s", flush=True)
            code = start(part.arguments(prepared, results, given), given + GRACE)
            document = Document(results, part.name)
            if code not in ENDS and document.passed:  # it had no time to say what went wrong
                document.note(error=f"exit code {code}, see run.log")
            _write_report(results)
            print(f"   ended with {code}", flush=True)
            went_on = len(document.rows) > before
            if code == STOPPED or not (part.restarts and went_on):
                break
    return _exit_code(parts, results)


def _complete(results: Path, name: str) -> bool:
    return bool(read_results(results).get(name, {}).get("complete"))


def _exit_code(parts: Sequence[Planned], results: Path) -> int:
    documents = [Document(results, part.name) for part in parts]
    if not all(document.passed for document in documents):
        return 1
    return 0 if all(_complete(results, part.name) for part in parts) else STOPPED


def _write_report(results: Path) -> None:
    (results / "report.md").write_text(render(read_results(results)))


def start_process(command: list[str], seconds: float) -> int:
    """Run a command and its children; SIGTERM when its time is over, then SIGKILL."""
    process = subprocess.Popen(command, process_group=0)
    try:
        return process.wait(seconds)
    except (subprocess.TimeoutExpired, Stopped) as error:
        process.terminate()
        try:
            code = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        if isinstance(error, Stopped):
            raise
        return code


def main() -> None:
    """Run all parts; what an earlier call measured is taken from PREPARED where RESULTS is new."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=480)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    earlier = options.prepared / FILE
    if earlier.exists() and not (options.results / FILE).exists():
        shutil.copy(earlier, options.results / FILE)
    stop_when_told()
    begin = time.monotonic()
    try:
        with unpacked(options.prepared) as prepared:
            seconds = options.seconds - (time.monotonic() - begin)
            code = run_parts(PARTS, prepared, options.results, seconds, start_process)
    finally:
        _write_report(options.results)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
