"""A campaign: forked workers run the seeds of a target; one that dies costs one case."""

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.case import Case
from tests.fuzz.meter import FAILED, Result
from tests.fuzz.target import Target
from tests.fuzz.worker import work

LONGEST = 20.0
"""Seconds of processor after which a case is ended."""
WAIT = 120.0
"""Seconds after which a case is ended that does not even use the processor."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class _Worker:
    """A process, what is left for it, and the case that it is at."""

    process: int
    pipe: int
    room: Path
    seeds: list[int]
    current: int | None = None
    since: float = 0.0
    cpu: float = 0.0
    buffer: bytes = b""
    done: bool = False
    killed: str = ""
    results: list[Result] = field(default_factory=list)


def run(
    target: Target,
    draw: Callable[[int], Case],
    seeds: list[int],
    *,
    workers: int = 1,
    slack: float = 1.0,
) -> Iterator[Result]:
    """Run the cases of `seeds`, and give a result for each as it comes.

    A case whose process dies, hangs or is killed for memory is a failed one.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sala-fuzz-") as folder,
        selectors.DefaultSelector() as s,
    ):
        count = iter(range(10**9))

        def begin(left: list[int]) -> None:
            if left:
                worker = _fork(target, draw, left, Path(folder, str(next(count))), slack)
                s.register(worker.pipe, selectors.EVENT_READ, worker)

        try:
            for index in range(workers):
                begin(seeds[index::workers])
            while s.get_map():
                for key, _ in s.select(timeout=1.0):
                    worker: _Worker = key.data
                    ended = not _read(worker)
                    yield from worker.results
                    worker.results.clear()
                    if ended:
                        s.unregister(worker.pipe)
                        yield from _end(worker)
                        begin(worker.seeds)
                for key in s.get_map().values():
                    _watch(key.data)
        finally:
            for key in s.get_map().values():
                os.kill(key.data.process, signal.SIGKILL)
                os.waitpid(key.data.process, 0)


def _fork(
    target: Target, draw: Callable[[int], Case], seeds: list[int], room: Path, slack: float
) -> _Worker:
    room.mkdir()
    mine, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(mine)
        os.setsid()  # what a case starts ends with it
        work(target, draw, seeds, theirs, room, slack)
    os.close(theirs)
    return _Worker(process, mine, room, list(seeds))


def _read(worker: _Worker) -> bool:
    """Take what the worker said; False where it is gone."""
    data = os.read(worker.pipe, 1 << 16)
    *lines, worker.buffer = (worker.buffer + data).split(b"\n")
    for line in lines:
        message = json.loads(line)
        worker.done |= "done" in message
        if "begin" in message or "run" in message:
            worker.current = message.get("begin", message.get("run"))
            worker.since, worker.cpu = time.monotonic(), _cpu(worker.process)
        if "result" in message:
            worker.results.append(Result.from_json(message["result"]))
            worker.seeds.remove(worker.results[-1].seed)
            worker.current = None
    return bool(data)


def _watch(worker: _Worker) -> None:
    """End a worker whose case does not end."""
    if worker.current is None or worker.killed:
        return
    waited = time.monotonic() - worker.since
    spent = _cpu(worker.process) - worker.cpu
    if spent > LONGEST or waited > WAIT:
        worker.killed = f"hang: ended after {spent:.0f} s of processor, {waited:.0f} s of waiting"
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process, signal.SIGABRT)  # faulthandler tells where it was
            time.sleep(0.5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process, signal.SIGKILL)


def _end(worker: _Worker) -> Iterator[Result]:
    """The result of the case that a worker died of."""
    os.close(worker.pipe)
    _, status = os.waitpid(worker.process, 0)
    crash = (worker.room / "crash.txt").read_text(errors="replace")
    shutil.rmtree(worker.room, ignore_errors=True)
    if worker.done:
        return
    how = f"signal {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else ""
    how = how or f"exit {os.waitstatus_to_exitcode(status)}"
    if worker.current is None:
        raise RuntimeError(f"a worker ended between cases ({how})\n{crash[-6000:]}")
    worker.seeds.remove(worker.current)
    kind = f"hang: {_frame(crash)}" if worker.killed else f"{how}: {_frame(crash)}"
    seconds = LONGEST if worker.killed else 0.0
    yield Result(worker.current, FAILED, kind, f"{worker.killed}\n{crash[-6000:]}", seconds)


def _frame(crash: str) -> str:
    """The function of the product that was called, from a report of faulthandler."""
    kernel = re.search(r"__tvm_ffi_(\w+)", crash)
    if kernel is not None:
        return f"the kernel {kernel[1]}"
    frames = re.findall(r'File "([^"]+)", line \d+,? in (\S+)', crash)
    ours = [(f, name) for f, name in frames if "/tests/" not in f and "site-packages" not in f]
    for file, name in ours[:1] or frames[:1]:
        return f"{'/'.join(Path(file).parts[-3:])}:{name}"
    return "somewhere"


def _cpu(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return sum(int(each) for each in fields[11:15]) / _TICKS
