"""A forked process that runs case after case, and tells its parent before and after each."""

import faulthandler
import gc
import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.case import Case
from tests.fuzz.meter import measured
from tests.fuzz.target import Target

ADDRESS_SPACE = 3 << 30
"""Bytes that a case may map beyond what the process has before the first one."""


def work(
    target: Target,
    draw: Callable[[int], Case],
    seeds: Iterable[int],
    pipe: int,
    room: Path,
    slack: float,
) -> None:
    """Run the cases of `seeds` in `room`; lines of JSON go into the pipe. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with (room / "crash.txt").open("w") as crash, open(os.devnull, "w") as nothing:
            faulthandler.enable(crash)
            os.dup2(nothing.fileno(), 1)
            os.dup2(crash.fileno(), 2)
            _run(target, draw, seeds, pipe, room / "files", slack)
        code = 0
    except BaseException:
        (room / "crash.txt").open("a").write(traceback.format_exc())
    finally:
        os._exit(code)


def _run(
    target: Target,
    draw: Callable[[int], Case],
    seeds: Iterable[int],
    pipe: int,
    room: Path,
    slack: float,
) -> None:
    room.mkdir()
    target.start(room)
    gc.collect()
    gc.freeze()
    limit = _mapped() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for seed in seeds:
        _tell(pipe, {"begin": seed})
        case = draw(seed)
        size = target.lay(case)
        _tell(pipe, {"run": seed})
        result = measured(seed, size, lambda case=case: target.check(case), slack)
        _tell(pipe, {"result": asdict(result)})
    _tell(pipe, {"done": True})


def _tell(pipe: int, message: dict[str, object]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


def _mapped() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
