"""The one call that measures everything on a GPU: what it begins, and how it goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import racecheck
from benchmarks.gpu.budget import STOPPED, Budget, Stopped, measure
from benchmarks.gpu.marks import predicted
from benchmarks.gpu.report import PARTS as REPORTED
from benchmarks.gpu.results import FILE, Document, read_results
from benchmarks.gpu.run import GRACE, LEAST, PARTS, RESERVE, Planned, run_parts

ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _rows(clock: Clock, seconds: list[float], log: list[int]) -> Iterator[tuple[str, Any]]:
    for number, each in enumerate(seconds):

        def work(number: int = number, each: float = each) -> dict[str, int]:
            log.append(number)
            clock.now += each
            return {"number": number}

        yield f"row {number}", work


def test_a_row_is_begun_only_if_it_will_fit_and_another_call_goes_on(
    tmp_path: Path, clock: Clock
) -> None:
    seconds, log = [1.0, 4.0, 2.0, 1.0, 1.0], list[int]()
    with pytest.raises(Stopped) as stopped:
        measure(Document(tmp_path, "a"), Budget(11.0, clock), _rows(clock, seconds, log))
    assert stopped.value.code == STOPPED
    assert log == [0, 1, 2], "4 s are left, and the last two took up to 4"
    again = Document(tmp_path, "a")
    assert [row["number"] for row in again.rows] == [0, 1, 2]
    measure(again, Budget(10.0, clock), _rows(clock, seconds, log))
    assert log == [0, 1, 2, 3, 4]
    assert [row["name"] for row in Document(tmp_path, "a").rows] == [f"row {n}" for n in range(5)]


def test_a_row_that_raises_is_written_and_not_begun_again(tmp_path: Path, clock: Clock) -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("as asked")

    rows = [("good", dict), ("bad", fail), ("behind", dict)]
    with pytest.raises(ValueError, match="as asked"):
        measure(Document(tmp_path, "a"), Budget(10.0, clock), rows)
    document = Document(tmp_path, "a")
    assert not document.passed
    measure(document, Budget(10.0, clock), rows)
    assert [(row["name"], row.get("error")) for row in document.rows] == [
        ("good", None),
        ("bad", "ValueError: as asked"),
        ("behind", None),
    ]


def test_parts_share_a_file_and_change_only_their_own(tmp_path: Path) -> None:
    one, two = Document(tmp_path, "one"), Document(tmp_path, "two")
    one.add("x", value=1)
    two.add("y", value=2)
    one.add("z", value=3)
    two.finish()
    found = read_results(tmp_path)
    assert [row["name"] for row in found["one"]["rows"]] == ["x", "z"]
    assert (found["one"]["complete"], found["two"]["complete"]) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_time_of_a_longer_prefill_follows_from_the_last_two() -> None:
    assert predicted([], 1 << 20) is None
    assert predicted([(100, 2.0)], 400) == pytest.approx(8.0)

    def seconds(tokens: int) -> float:
        return 3e-5 * tokens + 2e-11 * tokens**2

    points = [(mark, seconds(mark)) for mark in (1 << 16, 1 << 18)]
    assert predicted(points, 1 << 20) == pytest.approx(seconds(1 << 20))
    assert predicted([(10, 1.0), (20, 1.5)], 40) == pytest.approx(3.0), "never ever faster"


Outcome = tuple[float, int, int]
"""Seconds that a part takes, rows that it adds, its exit code; 0 is complete."""


def _start(
    clock: Clock, results: Path, outcomes: dict[str, list[Outcome]], log: list[tuple[str, float]]
) -> Callable[[list[str], float], int]:
    def start(command: list[str], seconds: float) -> int:
        name = command[command.index("--part") + 1]
        given = float(command[command.index("--seconds") + 1])
        assert seconds == pytest.approx(given + GRACE, abs=0.1)
        log.append((name, given))
        took, rows, code = outcomes[name].pop(0)
        clock.now += min(took, seconds)
        document = Document(results, name)
        for _ in range(rows):
            document.add(f"row {len(document.rows)}", passed=code != 1)
        if code == 0:
            document.finish()
        return code

    return start


def test_parts_run_in_order_while_there_is_time(tmp_path: Path, clock: Clock) -> None:
    parts = [Planned(name, 60.0, ("module",), restarts=name == "b") for name in "abcd"]
    outcomes: dict[str, list[Outcome]] = {
        "a": [(10, 2, 0)],
        "b": [(5, 1, 1), (5, 1, 0)],
        "c": [(70, 3, STOPPED), (20, 2, 0)],
        "d": [(1, 1, 0)],
    }
    log: list[tuple[str, float]] = []
    start = _start(clock, tmp_path, outcomes, log)
    limit = 84.0 + RESERVE + LEAST
    assert run_parts(parts, tmp_path, tmp_path, limit, start, clock) == 1, "a row of b failed"
    assert log[:3] == [("a", 60.0), ("b", 60.0), ("b", 55.0)], (
        "b failed, went on, and came to its end"
    )
    assert log[3] == ("c", 60.0)
    assert len(log) == 4, "nothing is left for d"
    assert (tmp_path / "report.md").exists()
    log.clear()
    assert run_parts(parts, tmp_path, tmp_path, 480.0, start, clock) == 1
    assert [name for name, _ in log] == ["c", "d"], "what is complete is not begun again"
    assert len(Document(tmp_path, "c").rows) == 5


def test_a_part_that_fails_again_and_again_leaves_the_others_their_time(
    tmp_path: Path, clock: Clock
) -> None:
    log: list[tuple[str, float]] = []
    outcomes: dict[str, list[Outcome]] = {"a": [(25, 1, 1)] * 9, "b": [(1, 1, 0)]}
    parts = [Planned("a", 60.0, ("m",), restarts=True), Planned("b", 60.0, ("m",))]
    start = _start(clock, tmp_path, outcomes, log)
    assert run_parts(parts, tmp_path, tmp_path, 200.0, start, clock) == 1
    assert log == [("a", 60.0), ("a", 35.0), ("a", 10.0), ("b", 60.0)]


def test_a_part_without_progress_is_not_begun_again(tmp_path: Path, clock: Clock) -> None:
    log: list[tuple[str, float]] = []
    outcomes: dict[str, list[Outcome]] = {"a": [(1, 0, 3)], "b": [(1, 1, 0)]}
    parts = [Planned("a", 9.0, ("m",), restarts=True), Planned("b", 9.0, ("m",))]
    start = _start(clock, tmp_path, outcomes, log)
    assert run_parts(parts, tmp_path, tmp_path, 100.0, start, clock) == 1
    assert [name for name, _ in log] == ["a", "b"]
    assert read_results(tmp_path)["a"]["error"] == "exit code 3, see run.log"
    outcomes["a"] = [(1, 1, 0)]
    assert run_parts(parts, tmp_path, tmp_path, 100.0, start, clock) == 0, "what went wrong is over"


def test_what_matters_most_comes_first_and_fits_one_call() -> None:
    names = [part.name for part in PARTS]
    assert names == [
        *("environment", "racecheck", "kernels", "golden", "model-int4"),
        *("peers", "model-bf16", "dense", "fla"),
    ]
    assert set(REPORTED) == set(names)
    racecheck_seconds = next(part.seconds for part in PARTS if part.name == "racecheck")
    assert racecheck_seconds <= 60


CALL = """
import sys
from benchmarks.gpu import run
rows, each, failing = sys.argv.pop(), sys.argv.pop(), sys.argv.pop()
options = ("tests.benchmarks.slow_part", "--rows", rows, "--each", each, "--failing", failing)
run.PARTS = tuple(run.Planned(name, 60.0, options, restarts=True) for name in ("one", "two"))
run.main()
"""


def _call(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", CALL, str(folder), str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sigterm_in_the_middle_keeps_every_row_and_another_call_goes_on(tmp_path: Path) -> None:
    first = _call(tmp_path, "-1", "0.2", "6")
    _wait_for(lambda: len(read_results(tmp_path).get("one", {}).get("rows", ())) >= 2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == STOPPED
    before = read_results(tmp_path)["one"]
    assert 2 <= len(before["rows"]) < 6
    assert not before["complete"]
    assert (tmp_path / "report.md").exists()
    assert _call(tmp_path, "-1", "0", "6").wait(120) == 0
    after = read_results(tmp_path)
    assert after["one"]["rows"][: len(before["rows"])] == before["rows"]
    for name in ("one", "two"):
        assert [row["number"] for row in after[name]["rows"]] == list(range(6))
        assert after[name]["complete"]


def test_a_process_that_fails_is_begun_again_behind_the_row(tmp_path: Path) -> None:
    assert _call(tmp_path, "1", "0", "3").wait(120) == 1
    for name in ("one", "two"):
        rows = read_results(tmp_path)[name]["rows"]
        assert [row["name"] for row in rows] == ["0", "1", "2"]
        assert [row.get("error") for row in rows] == [None, "ValueError: as asked", None]


def test_the_script_takes_what_an_earlier_call_measured(tmp_path: Path) -> None:
    """Every part is complete, so that nothing but the report is made."""
    prepared, results = tmp_path / "prepared", tmp_path / "results"
    prepared.mkdir()
    for part in PARTS:
        Document(prepared, part.name).finish()
    script = [str(ROOT / "benchmarks/gpu/run_all.sh"), str(prepared), str(results)]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "# On a GPU" in done.stdout
    assert sorted(path.name for path in results.iterdir()) == ["report.md", FILE, "run.log"]


def test_the_time_of_a_part_counts_from_the_start_of_its_process() -> None:
    code = "import time; time.sleep(0.5); from benchmarks.gpu import budget\n"
    code += "print(budget.process_age())"
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert 0.45 < float(done.stdout) < time.monotonic() - begin + 0.1


STAND_IN = """#!/bin/bash
trap 'echo told to stop; exit 75' TERM
echo begun > "$STARTED"
while :; do sleep 0.1; done
"""


def test_the_script_hands_sigterm_on_and_waits(tmp_path: Path) -> None:
    python, started = tmp_path / "python", tmp_path / "started"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    script = [str(ROOT / "benchmarks/gpu/run_all.sh"), str(tmp_path), str(tmp_path / "results")]
    environment = {**os.environ, "PYTHON": str(python), "STARTED": str(started)}
    process = subprocess.Popen(script, env=environment, stdout=subprocess.DEVNULL)
    _wait_for(started.exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == STOPPED
    _wait_for(lambda: "told to stop" in (tmp_path / "results" / "run.log").read_text())


HAZARD = """
========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at 0x10 and Read access at 0x20 [4 hazards]
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
CLEAN = "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"


def test_what_the_sanitizer_says() -> None:
    assert racecheck.verdict(CLEAN, ended=True) == {"hazards": 0, "ended": True, "passed": True}
    found = racecheck.verdict(HAZARD, ended=True)
    assert (found["hazards"], found["passed"]) == (1, False)
    cut = racecheck.verdict(HAZARD.partition("========= RACE")[0], ended=False)
    assert (cut["hazards"], cut["ended"], cut["passed"]) == (1, False, False)
    assert "passed" not in racecheck.verdict("Device not supported", ended=False)
    assert "passed" not in racecheck.verdict(CLEAN, ended=False), "the program itself failed"
    assert racecheck.check(None, [], 1.0) == {"left_out": "the machine has no compute-sanitizer"}


def test_the_sanitizer_and_what_it_runs_are_ended_in_time(tmp_path: Path) -> None:
    tool, pid = tmp_path / "compute-sanitizer", tmp_path / "pid"
    tool.write_text(f"#!/bin/sh\necho started\nsleep 600 & echo $! > {pid}\nwait\n")
    tool.chmod(0o755)
    assert racecheck.find_tool([str(tmp_path)]) in (str(tool), racecheck.find_tool())
    row = racecheck.check(str(tool), ["nothing"], 1.0)
    assert row == {"hazards": 0, "ended": False, "output": "started\n"}
    _wait_for(lambda: not _alive(int(pid.read_text())))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
