"""Trials in a process of their own, which runs the artifact and knows no compiler."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact.tuning import KernelBuild, KernelTrial
from sala_compile.runtime.errors import CompileError, SalaError

PATIENCE = 5.0
"""Seconds in which the process of the trials has to end by itself."""
_SPAWN = get_context("spawn")


class TrialEnded(Exception):
    """The process died in a trial."""


class TrialProcess:
    """Measures builds of kernels; starts with the first request, and again after it died."""

    def __init__(self, artifact: Path, target: str, threads: int, length: int) -> None:
        """Nothing is started yet."""
        self._arguments = artifact.absolute(), target, threads, length
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def kernels(self) -> dict[str, dict[str, float]]:
        """Every kernel with the seconds of its calls in a step, by the kind of work."""
        try:
            return self._ask("kernels")
        except TrialEnded as error:
            raise CompileError(
                f"the process that measures ended with {error}",
                where=str(self._arguments[0]),
                fix="its error is above",
            ) from None

    def trial(
        self, build: KernelBuild, default: KernelBuild, pairs: int, seconds: float
    ) -> list[KernelTrial]:
        """Compare a build with the default; TrialEnded if it crashes."""
        return self._ask("trial", build, default, pairs, seconds)

    def close(self) -> None:
        """End the process."""
        if self._process is None or self._connection is None:
            return
        self._connection.close()
        self._process.join(PATIENCE)  # one in the middle of a measurement is worth nothing now
        self._process.kill()
        self._process.join()
        self._process = self._connection = None

    def _ask(self, method: str, *arguments: Any) -> Any:
        process, connection = self._started()
        try:
            connection.send((method, arguments))
            answer = connection.recv()
        except (EOFError, OSError):
            process.join()
            self._process = self._connection = None
            raise TrialEnded(f"exit code {process.exitcode}") from None
        if isinstance(answer, SalaError):
            raise answer
        return answer

    def _started(self) -> tuple[SpawnProcess, Connection]:
        if self._process is None or self._connection is None:
            self._connection, theirs = _SPAWN.Pipe()
            self._process = _SPAWN.Process(
                target=_serve, args=(theirs, *self._arguments), daemon=True
            )
            with _safe_path():
                self._process.start()
            theirs.close()
        return self._process, self._connection


def _serve(connection: Connection, *arguments: Any) -> None:
    import_module("sala_compile.runtime.bench.trials").serve(connection, *arguments)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Processes that start inside look for no module in the current directory."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before
