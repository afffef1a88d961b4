"""Long prompts: what running streams notice of one, and what the next question costs."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served.request_mix import first_token
from benchmarks.served.server_process import ServerProcess, free_port, own_command
from benchmarks.served.stream_client import StreamTimes, stream_completion

STREAMS = 4
STALLING, LONG, DOCUMENT, QUESTION = 1500, 65536, 32768, 24
"""Tokens of prompts that arrive among running streams, of a document, of a question on it."""
SETTLED = 200
"""Pieces that each stream has before the long prompt arrives."""


def random_ids(vocabulary: int, count: int, seed: int) -> list[int]:
    """Token ids by a seed."""
    return np.random.default_rng(seed).integers(0, vocabulary, count).tolist()


def longest_gap(
    port: int, vocabulary: int, tokens: int, settled: int = SETTLED, seed: int = 0
) -> dict[str, float]:
    """The longest gap of running streams before and while a prompt of so many tokens is read.

    `seed` makes texts that a server has not seen. RuntimeError if a stream is refused, or ends
    before the prompt is read.
    """

    async def measured() -> tuple[list[StreamTimes], StreamTimes]:
        body: dict[str, Any] = {"max_tokens": 1 << 20, "temperature": 0, "ignore_eos": True}
        running = [StreamTimes(0.0) for _ in range(STREAMS)]
        tasks = [
            asyncio.create_task(
                stream_completion(
                    port, {**body, "prompt": random_ids(vocabulary, 64, seed + number)}, times
                )
            )
            for number, times in enumerate(running)
        ]
        while any(len(each.packets) < settled for each in running):
            _require_running(tasks)
            await asyncio.sleep(0.01)
        long = {**body, "prompt": random_ids(vocabulary, tokens, seed + 9), "max_tokens": 1}
        arrived = await stream_completion(port, long)
        _require_running(tasks)
        await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return running, arrived

    running, long = asyncio.run(measured())
    begin, end = long.sent, long.arrivals[0]
    return {
        "first": long.first,
        "before": max(_longest(each, 0.0, begin) for each in running),
        "while": max(_longest(each, begin, end) for each in running),
        "median": float(np.median([g for each in running for g in _gaps(each, begin, end)])),
    }


def _require_running(tasks: list["asyncio.Task[StreamTimes]"]) -> None:
    for task in tasks:
        if task.done():
            times = task.result()
            raise RuntimeError(f"a stream ended after {len(times.arrivals)} pieces: too early")


def _gaps(times: StreamTimes, begin: float, end: float) -> list[float]:
    """The gaps that have a part in a time."""
    pairs = zip(times.arrivals, times.arrivals[1:], strict=False)
    return [b - a for a, b in pairs if b > begin and a < end]


def _longest(times: StreamTimes, begin: float, end: float) -> float:
    return max(_gaps(times, begin, end), default=0.0)


def questions(
    artifact: Path, threads: int, work: Path, vocabulary: int, seed: int
) -> dict[str, Any]:
    """Seconds to the first token of questions on a document: first, second, after a restart."""
    directory = work / "prefixes"
    options = ("--context", str(DOCUMENT + 4096), "--batch", "2", "--prefix-cache", "2GiB")
    options += ("--prefix-dir", str(directory))

    def served() -> ServerProcess:
        port = free_port()
        command = own_command(artifact, port, threads, *options)
        server = ServerProcess(command, port, threads, work / "questions.log")
        first_token(port, random_ids(vocabulary, 100, 7))  # the first request is no example
        return server

    def asked(server: ServerProcess, question: int) -> StreamTimes:
        prompt = random_ids(vocabulary, DOCUMENT, seed)
        prompt += random_ids(vocabulary, QUESTION, 1000 + 3 * seed + question)
        return first_token(server.port, prompt)

    server = served()
    found = {"first": asked(server, 0).first, "second": asked(server, 1).first}
    code = server.stop()
    server = served()
    restarted = asked(server, 2)
    server.stop()
    found |= {"restarted": restarted.first, "cached": restarted.cached_tokens}
    return {**found, "exit_code": code, "bytes": _bytes(directory)}


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
