"""Runs one case in this process and measures what it took."""

import gc
import re
import resource
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from sala_compile.runtime.errors import SalaError
from tests.fuzz.target import Wrong

SECONDS = 2.0
MEMORY = 200 << 20
"""A case takes at most twice its size and this many bytes more."""
LONGEST_MESSAGE = 8000
"""Characters of an error that a person still reads."""
REPEATS = 3
"""A case beyond a limit is measured so often: other programs use the machine too."""

WAITED, IDLE = 10.0, 0.02
"""Seconds count although no processor was used where a case mostly waited."""

ACCEPTED, REFUSED, FAILED = "accepted", "refused", "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case: `kind` groups failures, `detail` is for people."""

    seed: int
    outcome: str
    kind: str = ""
    detail: str = ""
    seconds: float = 0.0
    memory: int = 0

    @staticmethod
    def from_json(document: dict[str, Any]) -> "Result":
        """As it comes through a pipe."""
        return Result(**document)


def measured(seed: int, size: int, call: Callable[[], None], slack: float) -> Result:
    """Call once, again where it took too long or too much; the least of what was measured counts.

    Limits of time are `slack` times as long, for machines that do other things.
    """
    result = _once(seed, call)
    for _ in range(REPEATS - 1):
        if result.outcome == FAILED or not _beyond(result, size, slack):
            break
        again = _once(seed, call)
        if again.outcome == FAILED:
            return again
        least = min(result.seconds, again.seconds), min(result.memory, again.memory)
        result = Result(seed, again.outcome, again.kind, again.detail, *least)
    beyond = _beyond(result, size, slack)
    if beyond and result.outcome != FAILED:
        detail = f"{result.seconds:.2f} s, {result.memory >> 20} MiB, input of {size} bytes"
        kind = f"{beyond}: {result.kind or result.outcome}"
        return Result(seed, FAILED, kind, detail, result.seconds, result.memory)
    return result


def _beyond(result: Result, size: int, slack: float) -> str:
    if result.seconds > SECONDS * slack:
        return "too long"
    return "too much memory" if result.memory > 2 * size + MEMORY else ""


def _once(seed: int, call: Callable[[], None]) -> Result:
    gc.collect(0)
    _reset_peak()
    before, begin, wall = _memory("VmRSS"), _cpu(), perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    outcome, kind, detail = ACCEPTED, "", ""
    try:
        call()
    except SalaError as error:
        outcome, kind, detail = REFUSED, type(error).__name__, str(error)
        if len(detail) > LONGEST_MESSAGE or not error.found.strip():
            outcome, kind = FAILED, f"a message that nobody reads: {_place(error)}"
            detail = f"{detail[:300]} ... {len(detail)} characters"
    except BaseException as error:  # pyo3's PanicException is one
        if isinstance(error, KeyboardInterrupt):
            raise
        where = str(error) if isinstance(error, Wrong) else _place(error)
        outcome, kind = FAILED, f"{type(error).__name__}: {where}"
        detail = "".join(traceback.format_exception(error))[-6000:]
    seconds = _cpu() - begin
    waited = perf_counter() - wall
    if seconds < waited * IDLE and waited > WAITED:
        seconds = waited
    born = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10) - children
    return Result(seed, outcome, kind, detail[-6000:], seconds, max(0, _peak() - before, born))


def _cpu() -> float:
    own, born = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + born.ru_utime + born.ru_stime


def _place(error: BaseException) -> str:
    """The deepest function of the product, and of whatever it called."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/tests/" not in f.filename and "site-packages" not in f.filename]
    chosen = [frame for frame in (ours[-1:] or frames[-1:])]
    return " ".join(f"{'/'.join(Path(f.filename).parts[-3:])}:{f.name}" for f in chosen)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    return _memory("VmHWM")


def _memory(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+)", text)
    assert found is not None, "Linux tells it"
    return int(found[1]) << 10
