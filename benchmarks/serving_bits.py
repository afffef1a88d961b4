"""Whether every answer of a loaded server is that of the same request alone, to the bit.

    python -m benchmarks.serving_bits NAME.sala --requests 1000 --output FILE.md

Mixed requests reach sala-serve with little memory for all of them, so that answers are preempted;
clients leave, and the server is killed or stopped and started again with its --prefix-dir. What is
lost is sent again. Then each request is sent alone to a server that keeps nothing, and the numbers
of every token's log probability and its alternatives are compared.
"""

import asyncio
import re
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

import click
import numpy as np

from benchmarks.machine import machine_document, machine_line
from benchmarks.markdown import table
from benchmarks.served.mixed_requests import MixedRequest, answered, differs, mixed_requests
from benchmarks.served.server_process import ServerProcess, free_port, own_command
from sala_compile.runtime.artifact import open_artifact

AT_ONCE, CONTEXT = 24, "2304"
MEASURES = {
    "preempted": "sala_num_preemptions_total",
    "tokens from memory or disk": "sala_prompt_tokens_cached_total",
    "prefixes from disk": "sala_prefix_directory_hits_total",
    "steps that failed": "sala_failed_steps_total",
}


class RestartedServer:
    """A server that is stopped again and again, and starts at the same port."""

    def __init__(self, command: Sequence[str], port: int, threads: int, log: Path) -> None:
        """Start it."""
        self._parts = command, port, threads, log
        self.counts: Counter[str] = Counter()
        self._server = ServerProcess(command, port, threads, log)

    def restart(self, *, kill: bool) -> None:
        """End it at once, or as an administrator would, and start it again."""
        self._look()
        self.counts["killed" if kill else "stopped"] += 1
        if kill:
            self._server.kill()
        elif self._server.stop() != 0:
            raise RuntimeError("the server did not end with code 0")
        self._server = ServerProcess(*self._parts)

    def stop(self) -> None:
        """End it for good."""
        self._look()
        self._server.stop()

    def _look(self) -> None:
        """Add what was counted since the start."""
        address = f"http://127.0.0.1:{self._parts[1]}/metrics"
        request = urllib.request.Request(address, headers={"authorization": "Bearer key-0"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        for name, measure in MEASURES.items():
            found = re.search(rf"^{measure} (\S+)$", text, re.MULTILINE)
            self.counts[name] += 0 if found is None else int(float(found[1]))


async def _load(server: RestartedServer, url: str, requests: list[MixedRequest], ends: int) -> int:
    """Send all requests, some at a time, with so many restarts; how many were sent again."""
    places, done = asyncio.Semaphore(AT_ONCE), 0

    async def send(request: MixedRequest) -> int:
        nonlocal done
        async with places:
            again = await answered(url, request)
        done += 1
        return again

    async def disturb() -> None:
        for number in range(ends):
            while done < (number + 1) * len(requests) / (ends + 1):
                await asyncio.sleep(0.05)
            await asyncio.to_thread(server.restart, kill=number % 2 == 0)

    disturbing = asyncio.ensure_future(disturb())
    counts = await asyncio.gather(*map(send, requests))
    await disturbing
    return sum(counts)


async def _compare(url: str, requests: list[MixedRequest]) -> list[str]:
    """Send each request alone, the same ones once; the answers that differ."""
    known: dict[str, MixedRequest] = {}
    wrong: list[str] = []
    for request in requests:
        body = {"prefix_reuse": "none", "priority": 0, "stream": False}
        alone = MixedRequest(deepcopy(request.body) | body)
        if str(alone.body) not in known:
            await answered(url, alone)
            known[str(alone.body)] = alone
        difference = differs(request, known[str(alone.body)])
        if difference is not None:
            wrong.append(f"{difference}; of {str(request.body)[-400:]}")
    return wrong


@click.command(help=__doc__)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--requests", "count", default=1000)
@click.option("--restarts", default=4)
@click.option("--capacity", default=CONTEXT, help="Tokens that all answers hold together.")
@click.option("--threads", default=1)
@click.option("--seed", default=0)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build"), help="For the log.")
@click.option("--output", type=click.Path(path_type=Path))
def main(
    artifact: Path,
    count: int,
    restarts: int,
    capacity: str,
    threads: int,
    seed: int,
    work: Path,
    output: Path | None,
) -> None:
    """Send the requests, compare the answers, and print what happened."""
    vocabulary = open_artifact(artifact).manifest.model.vocabulary
    requests = mixed_requests(vocabulary, count, np.random.default_rng(seed))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys, log = folder / "keys", work / "serving-bits.log"
        keys.write_text("".join(f"key-{number}\n" for number in range(4)))
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1/completions"
        options = ["--context", CONTEXT, "--queue", "64", "--api-key-file", str(keys)]
        loaded = ["--batch", "8", "--capacity", capacity, "--prefix-cache", "2MiB"]
        loaded += ["--prefix-dir", str(folder / "kept"), "--prefix-dir-size", "64MiB"]
        command = own_command(artifact, port, threads, *options, *loaded)
        server = RestartedServer(command, port, threads, log)
        try:
            again = asyncio.run(_load(server, url, requests, restarts))
        finally:
            server.stop()
        command = own_command(artifact, port, threads, *options, "--batch", "1")
        alone = ServerProcess([*command, "--no-prefix-cache"], port, threads, log)
        try:
            wrong = asyncio.run(_compare(url, requests))
        finally:
            alone.stop()
    tokens = sum(len(found.get("tokens", ())) for each in requests for found in each.found)
    rows = [
        ["requests", f"{count:,}"],
        ["left by their clients", str(sum(each.leaves_after is not None for each in requests))],
        ["sent again", str(again)],
        ["tokens compared", f"{tokens:,}"],
        *([name, f"{number:,}"] for name, number in server.counts.items()),
        ["answers that differ", str(len(wrong))],
    ]
    machine = machine_line(machine_document(["numpy", "apache-tvm-ffi"], threads))
    head = f"# Answers of a loaded server, compared with each request alone\n\n{machine}"
    about = f"{artifact.stem}; {AT_ONCE} requests at a time, batch 8, room for {capacity} tokens."
    text = "\n".join([f"{head}; {about}", "", *table(["", ""], rows), ""])
    print(text)
    print("\n".join(wrong[:20]))
    if output is not None:
        output.write_text(text, encoding="utf-8")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
