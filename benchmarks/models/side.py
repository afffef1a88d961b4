"""An engine that is measured, in a process of its own: requests come in as lines of JSON.

Needs nothing but the standard library and NumPy, so that a peer's own environment can run it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from sala_compile.runtime.common.timing import sample

SETTLE_SECONDS = 0.3
"""Before a sample: threads of OpenMP spin for a while after their last work, in any process."""


class Side(Protocol):
    """A model on an engine. Token ids do not matter to the time: they are drawn."""

    versions: dict[str, str]
    """Of the packages of a peer."""

    def prepare(self, batch: int, length: int, room: int) -> None:
        """Hold `batch` sequences of `length` tokens each, with room for `room` more in each."""
        ...

    def step(self) -> None:
        """Decode one token of every sequence; the likeliest is the next."""
        ...

    def read(self, tokens: int) -> None:
        """Read a prompt of so many tokens into an empty sequence, to the logits of the last."""
        ...

    def grow(self, tokens: int) -> None:
        """Read so many tokens more into the first sequence."""
        raise NotImplementedError


def serve(make: Callable[[dict[str, Any]], Side]) -> None:
    """Answer requests until standard input ends; `make` gets the options of the first one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    options = json.loads(sys.stdin.readline())
    side = make(options)
    answer(**side.versions)
    for line in sys.stdin:
        request = json.loads(line)
        answer(**_answered(side, **request))


def _answered(side: Side, do: str, **request: int) -> dict[str, Any]:
    match do:
        case "prepare":
            side.prepare(**request)
            return {}
        case "read":
            return _timed(lambda: side.read(**request))
        case "grow":
            return _timed(lambda: side.grow(**request))
        case "first":
            side.read(**request)
            return {}
        case "decode":
            return _timed(lambda: [side.step() for _ in range(request["steps"])])
        case "memory":
            return memory()
        case _:
            raise SystemExit(f"there is no request {do!r}")


def _timed(work: Callable[[], object]) -> dict[str, float]:
    time.sleep(SETTLE_SECONDS)
    return asdict(sample(work))


def memory() -> dict[str, int]:
    """Bytes: the most that was resident so far, mapped files included, and what is not of files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    named = {"peak": "VmHWM", "anonymous": "RssAnon"}
    return {name: int(fields[field].split()[0]) * 1024 for name, field in named.items()}
