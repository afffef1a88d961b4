"""What is measured of servers, part by part, row by row."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Any

from benchmarks.served import decode_rate, long_prompts
from benchmarks.served.request_mix import run_mix
from benchmarks.served.served_artifacts import ServedArtifact, needle, smollm2
from benchmarks.served.server_process import (
    OURS,
    ServerProcess,
    free_port,
    llama_python_command,
    llama_server_command,
    own_command,
)
from examples.chat.smollm2 import fetch

PARTS = ("streams", "decode", "stalls", "gap", "questions")
LLAMA, LLAMA_PYTHON = "llama-server", "llama-cpp-python"
STREAMS = {1: 4, 4: 12, 8: 16, 32: 40}
"""Streams -> requests over them."""
BATCH, CONTEXT = 8, 2048
MAX_STALL = 0.25
SETTLED = 40
"""Pieces that each stream has before a prompt arrives, where the context is short."""

WARM_UP = 99_999
"""A seed of texts that no row has."""

IsMissing = Callable[[str], bool]
Rows = Iterator[tuple[str, dict[str, Any]]]


class ServingParts:
    """A method for each part: it measures the rows that are missing, and yields them by name."""

    def __init__(
        self, work: Path, rounds: int, threads: int, llama: str | None, llama_python: str | None
    ) -> None:
        """Nothing is started yet."""
        work.mkdir(parents=True, exist_ok=True)
        self._work, self._rounds, self._threads = work, rounds, threads
        self._llama, self._llama_python = llama, llama_python

    def streams(self, is_missing: IsMissing) -> Rows:
        """Throughput and times of every side, by streams."""
        with ExitStack() as stack:
            sides = cache(lambda: self._sides(stack))
            for name, number in self._numbered():
                for streams, count in STREAMS.items():
                    row = f"{streams} streams, {name}"
                    if is_missing(row):
                        seed = 100 * number + streams  # no text comes twice
                        yield (
                            row,
                            {
                                side: run_mix(server.port, streams, count, seed).numbers
                                for side, server in _turned(sides(), number)
                            },
                        )

    def decode(self, is_missing: IsMissing) -> Rows:
        """Tokens a second of eight answers over HTTP, by the scheduler, and without both.

        All load the model anew for every round: where its memory lies makes a difference.
        """
        artifact = smollm2(self._work)
        for name, number in self._numbered():
            if is_missing(name):
                with ExitStack() as stack:
                    options = ("--batch", str(BATCH), "--context", str(CONTEXT))
                    server = self._own(stack, artifact, *options)
                    seed = 100 * number
                    http = decode_rate.decode_over_http(server.port, artifact.vocabulary, seed)
                plain = decode_rate.decode_of_bench(artifact.path, self._threads, 4.0)
                alone = decode_rate.decode_by_scheduler(artifact.path, self._threads, seed)
                yield name, {"http": http, "scheduler": alone, "bench": plain}

    def stalls(self, is_missing: IsMissing) -> Rows:
        """The longest gap of running streams of every side while a prompt is read."""
        vocabulary = smollm2(self._work).vocabulary
        with ExitStack() as stack:
            sides = cache(lambda: self._sides(stack))
            for name, number in self._numbered():
                if is_missing(name):
                    yield (
                        name,
                        {
                            side: long_prompts.longest_gap(
                                server.port,
                                vocabulary,
                                long_prompts.STALLING,
                                SETTLED,
                                seed=10 * number,
                            )
                            for side, server in sides().items()
                            if side != LLAMA_PYTHON  # which answers one request at a time
                        },
                    )

    def gap(self, is_missing: IsMissing) -> Rows:
        """The same of ours alone with a long prompt and sparse attention."""
        artifact = needle(self._work)
        options = ("--context", "96K", "--batch", str(BATCH), "--max-stall", str(MAX_STALL))
        with ExitStack() as stack:
            server = cache(lambda: self._own(stack, artifact, *options))
            for name, number in self._numbered():
                if is_missing(name):
                    yield (
                        name,
                        long_prompts.longest_gap(
                            server().port, artifact.vocabulary, long_prompts.LONG, seed=10 * number
                        ),
                    )

    def questions(self, is_missing: IsMissing) -> Rows:
        """Seconds to the first token of questions on documents, before and after a restart."""
        artifact = needle(self._work)
        for name, number in self._numbered():
            if is_missing(name):
                folder = self._work / "questions"
                rmtree(folder, ignore_errors=True)
                folder.mkdir()
                yield (
                    name,
                    long_prompts.questions(
                        artifact.path, self._threads, folder, artifact.vocabulary, number
                    ),
                )
                rmtree(folder)

    def _numbered(self) -> Iterator[tuple[str, int]]:
        return ((f"round {number + 1}", number) for number in range(self._rounds))

    def _sides(self, stack: ExitStack) -> dict[str, ServerProcess]:
        """The servers that there are, with the same model, threads and answers at a time."""
        options = ("--batch", str(BATCH), "--context", str(CONTEXT), "--prefix-cache", "256MiB")
        options += ("--max-stall", str(MAX_STALL))
        sides = {OURS: self._own(stack, smollm2(self._work), *options)}
        threads = self._threads
        if self._llama is not None:
            port = free_port()
            command = llama_server_command(self._llama, fetch(), port, threads, BATCH, CONTEXT)
            sides[LLAMA] = self._started(stack, command, port, LLAMA)
        if self._llama_python is not None:
            port = free_port()
            command = llama_python_command(self._llama_python, fetch(), port, threads, CONTEXT)
            sides[LLAMA_PYTHON] = self._started(stack, command, port, LLAMA_PYTHON)
        for server in sides.values():
            run_mix(server.port, 2, 2, WARM_UP)  # the first request of a server is no example
        return sides

    def _own(self, stack: ExitStack, artifact: ServedArtifact, *options: str) -> ServerProcess:
        port = free_port()
        command = own_command(artifact.path, port, self._threads, *options)
        server = self._started(stack, command, port, OURS)
        long_prompts.first_token(port, list(range(100)))
        return server

    def _started(self, stack: ExitStack, command: list[str], port: int, side: str) -> ServerProcess:
        server = ServerProcess(command, port, self._threads, self._work / f"{side}.log")
        stack.callback(server.stop)
        return server


def _turned(sides: dict[str, ServerProcess], number: int) -> list[tuple[str, ServerProcess]]:
    """The sides in an order that changes from round to round."""
    found = list(sides.items())
    return found[number % len(found) :] + found[: number % len(found)]
