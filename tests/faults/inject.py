"""Runs a scenario again and again, each time with another system call failing or killing it.

    LD_PRELOAD=shim.so python -m tests.faults.inject shim.so SCENARIO few|all

Every attempt is a fork of this process. Prints one line of JSON: attempts, and what was wrong.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sala_compile.runtime.errors import SalaError
from tests.faults.scenarios import SCENARIOS, Scenario, Step

KILL, SHORT = -1, -2
KINDS = {
    "ENOSPC": errno.ENOSPC,
    "EIO": errno.EIO,
    "EINTR": errno.EINTR,
    "EDQUOT": errno.EDQUOT,
    "EROFS": errno.EROFS,
    "short": SHORT,
    "kill": KILL,
}
CRASHED = 99
Tree = dict[str, bytes | str | None]


@dataclass
class Attempt:
    """How one attempt ended: exit code or negative signal, what was printed, calls that it made."""

    code: int
    message: str
    calls: int
    call: str


def tree(folder: Path) -> Tree:
    """What stands below: contents, where links lead, directories.

    Without what the next writer removes, and links to a file that is not there yet.
    """
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.exists() and not any(part.startswith(".") for part in Path(name).parts):
            found[name] = _contents(path)
    return found


def _contents(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return os.readlink(path)
    return None if path.is_dir() else path.read_bytes()


class Injector:
    """One scenario in a folder of its own."""

    def __init__(self, shim: str, scenario: Scenario, work: Path) -> None:
        """Make the trees that may stand there: the old one, and the one behind each step."""
        self._shim = ctypes.CDLL(shim)
        self._shim.fault_seen.restype = ctypes.c_long
        self._shim.fault_what.restype = ctypes.c_char_p
        self._scenario, self._work = scenario, work
        self._tree = scenario.view or tree
        self._before = work / "before"
        self._target = work / "target"
        self._before.mkdir()
        scenario.old(self._before)
        stages = self._work / "stages"
        shutil.copytree(self._before, stages, symlinks=True)
        self._trees = [self._tree(stages)]
        for step in scenario.steps:
            step(stages)
            self._trees.append(self._tree(stages))
        fresh = work / "fresh"
        fresh.mkdir()
        scenario.steps[0](fresh)
        self._fresh = self._tree(fresh)
        assert all(a != b for a, b in zip(self._trees, self._trees[1:], strict=False))

    def attempts(self, every: bool) -> Iterator[tuple[str, str | None]]:
        """Each attempt's name, and what was wrong with it."""
        for number, step in enumerate(self._scenario.steps):
            for fresh in (False, True):
                if fresh and number:
                    continue
                clean = self._attempt(number, fresh, step, 0, 0)
                assert clean.code == 0, clean.message
                pace = 1 if every else self._scenario.pace
                for at in range(1, clean.calls + 1, pace):
                    for name in self._kinds(at // pace, every):
                        done = self._attempt(number, fresh, step, at, KINDS[name])
                        place = f"step {number}, {'new' if fresh else 'old there'}, call {at}"
                        yield (
                            f"{place} ({done.call}) {name}",
                            self._wrong(number, fresh, done, KINDS[name]),
                        )

    def _kinds(self, at: int, every: bool) -> list[str]:
        """All of them, or the kill and one error in turn."""
        names = list(KINDS)
        return names if every else [names[at % (len(names) - 1)], "kill"]

    def _attempt(self, number: int, fresh: bool, step: Step, at: int, kind: int) -> Attempt:
        shutil.rmtree(self._target, ignore_errors=True)
        if fresh:
            self._target.mkdir()
        else:
            shutil.copytree(self._before, self._target, symlinks=True)
        for done in self._scenario.steps[:number]:
            done(self._target)
        report = self._work / "report"
        report.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            self._child(step, at, kind, report)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told = json.loads(report.read_text()) if report.exists() else {}
        return Attempt(status, told.get("message", ""), told.get("calls", 0), told.get("call", ""))

    def _child(self, step: Step, at: int, kind: int, report: Path) -> None:
        signal.alarm(120)  # only a hang gets there
        code, message = 0, ""
        self._shim.fault_arm(os.fsencode(self._target), ctypes.c_long(at), kind)
        try:
            step(self._target)
        except SalaError as error:
            code, message = 2, str(error)
        except BaseException:
            code, message = CRASHED, traceback.format_exc()
        calls, call = self._shim.fault_seen(), self._shim.fault_what().decode()
        self._shim.fault_arm(b"", 0, 0)
        report.write_text(json.dumps({"message": message, "calls": calls, "call": call}))
        os._exit(code)

    def _wrong(self, number: int, fresh: bool, done: Attempt, kind: int) -> str | None:
        """What does not hold after an attempt, and after the same without a fault behind it."""
        old = {} if fresh else self._trees[number]
        new = self._fresh if fresh else self._trees[number + 1]
        found = self._tree(self._target)
        stands = "old" if found == old else "new" if found == new else "torn"
        wrong = self._wrong_end(stands, done, kind)
        if wrong is not None:
            return wrong
        try:
            self._scenario.steps[number](self._target)
        except BaseException:
            return f"the next run fails: {traceback.format_exc()}"
        left = [path.name for path in self._target.iterdir() if path.name.startswith(".")]
        if left or self._tree(self._target) != new:
            return f"the next run leaves {sorted(self._tree(self._target))} and {left}"
        return None

    @staticmethod
    def _wrong_end(stands: str, done: Attempt, kind: int) -> str | None:
        if stands == "torn":
            return f"torn, exit code {done.code}: {done.message}"
        if done.code == -signal.SIGKILL and kind == KILL:
            return None
        if done.code not in (0, 2):
            return f"exit code {done.code}: {done.message}"
        if (done.code == 0) != (stands == "new"):
            return f"exit code {done.code}, and the {stands} one stands there: {done.message}"
        if "as it was" in done.message and stands != "old":
            return f"an untrue message: {done.message}"
        return None


def main() -> None:
    """Print what was tried and what was wrong."""
    shim, name, extent = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="sala-faults-") as folder:
        work = Path(folder)
        injector = Injector(shim, SCENARIOS[name](work), work)
        tried = dict(injector.attempts(extent == "all"))
    wrong = {attempt: found for attempt, found in tried.items() if found is not None}
    print(json.dumps({"attempts": len(tried), "wrong": wrong}))


if __name__ == "__main__":
    main()
