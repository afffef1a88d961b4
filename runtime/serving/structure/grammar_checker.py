"""Asks a process of its own whether a grammar compiles within its limits."""

import json
import select
import subprocess
import sys
import threading

from sala_compile.runtime.errors import RequestError

_PROGRAM = "sala_compile.runtime.serving.structure.grammar_trial"
_PATIENCE = 60.0
"""Seconds, of a machine that has no time for the process."""


class GrammarChecker:
    """Tries grammars in another process, so that none can stop or end this one.

    The library bounds most of what it does, but not all: some schemas take minutes to compile, and
    some end the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def check(self, kind: str, source: str, where: str) -> None:
        """RequestError at `where` if a grammar does not compile, or not within the limits."""
        with self._lock:
            answer = self._asked(json.dumps([kind, source]).encode() + b"\n")
        if answer is None:
            raise RequestError(
                f"the {kind} takes too long or too much memory to compile",
                where,
                "a simpler one",
                "use fewer alternatives, repetitions and patterns that hold at once",
            )
        if answer:
            raise RequestError(f"the {kind} does not compile: {answer}", where)

    def start(self) -> None:
        """Start the process, which the first check does otherwise."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                _end(process)

    def _asked(self, line: bytes) -> str | None:
        """What the process says is wrong, empty if nothing is; None if it ended."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            waiting = select.poll()  # select() knows no descriptor from 1024 on
            waiting.register(process.stdout, select.POLLIN)
            answer = process.stdout.readline() if waiting.poll(1000 * _PATIENCE) else b""
        except OSError:
            answer = b""
        if answer:
            return str(json.loads(answer))
        _end(process)
        return None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", _PROGRAM]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
            )
        return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
