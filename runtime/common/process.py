"""The process of a command: its standard streams, its signals, its exit code.

0 is success, 1 what a command says itself, 2 a mistake that is reported in one message, 130 Ctrl-C,
and 141, silently, a reader of standard output that went away, as shells have them.
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from sala_compile.runtime.errors import RequestError, reported_as

INTERRUPTED = 130
PIPE_CLOSED = 141


def run_command(command: click.Command, program: str) -> None:
    """Run a console script and end the process with its exit code."""
    closed = _occupy()
    sys.stdout, sys.stderr = _stream(1, _fail), _stream(2, _ignore)
    for number in (signal.SIGTERM, signal.SIGHUP):  # they clean up as Ctrl-C does
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    code = _code(program, lambda: _run(command, program, closed))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left takes no time
    if code != PIPE_CLOSED:
        code = _code(program, lambda: sys.stdout.flush()) or code
    sys.exit(code)


def _run(command: click.Command, program: str, closed: bool) -> Any:
    if closed:
        raise RequestError(
            "standard output is closed", expected="an open one; /dev/null where it is of no use"
        )
    return command.main(prog_name=program, standalone_mode=False)


def _code(program: str, act: Callable[[], Any]) -> int:
    """Do something; the exit code that follows from how it ended."""
    try:
        with reported_as(program):
            result = act()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C while options were read
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as exit:
        return _exit_code(exit)


def _exit_code(exit: SystemExit) -> int:
    if exit.code is None or isinstance(exit.code, int):
        return exit.code or 0
    print(exit.code, file=sys.stderr)
    return 1


def _occupy() -> bool:
    """Open /dev/null where a standard stream is closed; whether it was standard output.

    The next file that is opened would take its number, and what a library prints would go there.
    """
    closed: list[int] = []
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            closed.append(descriptor)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    return 1 in closed


class _Raw(io.FileIO):
    """A standard stream that reports its first failure in its own way, and drops the rest."""

    def __init__(self, descriptor: int, failed: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._failed = failed
        self._lost = False

    def write(self, data: Any, /) -> int:
        """Write, or drop it once that failed."""
        size = memoryview(data).nbytes
        if self._lost:
            return size
        try:
            return super().write(data) or 0
        except OSError as error:
            self._lost = True
            self._failed(error)
            return size


def _stream(descriptor: int, failed: Callable[[OSError], None]) -> io.TextIOWrapper:
    """A text stream with the encoding that Python chose; other characters are escaped."""
    old = sys.stdout if descriptor == 1 else sys.stderr
    with suppress(OSError, ValueError, AttributeError):
        old.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(descriptor, failed)),
        encoding=getattr(old, "encoding", None) or "utf-8",
        errors="replace" if descriptor == 1 else "backslashreplace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


def _fail(error: OSError) -> None:
    if error.errno == errno.EPIPE:
        raise SystemExit(PIPE_CLOSED)
    raise RequestError(
        f"standard output cannot be written: {error.strerror}",
        fix="free space, or send it elsewhere",
    ) from None


def _ignore(error: OSError) -> None:
    """What cannot be written changes nothing."""
