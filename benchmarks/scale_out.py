"""Our request router beside Ray's default, on replicas of this machine and in a simulated day.

    python -m benchmarks.scale_out NAME.sala

Replicas: conversations and questions on shared documents are sent to `--replicas` of a small model
under Ray Serve, by the same trace with the router of this package and with Ray's power of two
choices: how much of the prompts was not read again, and the time to the first token. Simulation: a
day of requests over 64 replicas, with the router's own class: hit rate, queues, and what choosing
costs (time of the processor). `--part` measures one of the two; what the output has of the other
stays.
"""

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import httpx

from benchmarks.machine import machine_document
from benchmarks.markdown import page, table, write_report
from benchmarks.scaled.simulated_day import PAGE, Day, Sizes
from tests.support.ray_cluster import cluster

RESULTS = Path(__file__).parent / "results"
ROUTERS = ("prefix", "balanced")
KEPT = ("replicas", "artifact", "load", "rows", "sizes", "day")
DAYS = {"prefix": "prefix", "balanced": "two choices"}
NAMES = {"prefix": "ours", "balanced": "Ray's two choices"}
_WORDS = (
    *("river", "stone", "paper", "window", "garden", "letter"),
    *("morning", "engine", "bridge", "winter", "candle", "silver"),
)


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(_WORDS) for _ in range(words)) + "."


def trace(seed: int, conversations: int, turns: int, words: int) -> list[list[str]]:
    """The messages of conversations; each second one begins with one of three documents."""
    draw = random.Random(seed)
    documents = [_text(draw, words) for _ in range(3)]
    found: list[list[str]] = []
    for number in range(conversations):
        opening = documents[number // 2 % 3] if number % 2 else _text(draw, words // 8)
        found.append([opening, *(_text(draw, 12) for _ in range(turns - 1))])
    return found


class _Run:
    """One run of a trace: conversations at the same time, the turns of each one after another."""

    def __init__(self, url: str, model: str) -> None:
        self._url, self._model = url, model
        self.prompt = self.cached = self.errors = 0
        self.firsts: list[float] = []

    def converse(self, messages: list[str]) -> None:
        """The turns of a conversation, each a stream."""
        text = ""
        for message in messages:
            text += f"{message} Answer:"
            text += self._turn(text)

    def _turn(self, prompt: str) -> str:
        body = {"model": self._model, "prompt": prompt, "max_tokens": 16, "temperature": 0}
        body |= {"ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        begun, answer = time.perf_counter(), ""
        with httpx.stream("POST", f"{self._url}/v1/completions", json=body, timeout=300) as reply:
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                if not answer:
                    self.firsts.append(time.perf_counter() - begun)
                event = httpx.Response(200, text=line.removeprefix("data: ")).json()
                self.errors += "error" in event
                for choice in event.get("choices", ()):
                    answer += choice["text"]
                usage = event.get("usage")
                if usage:
                    self.prompt += usage["prompt_tokens"]
                    self.cached += usage["prompt_tokens_details"]["cached_tokens"]
        return answer


def measured(artifact: Path, router: str, replicas: int, seed: int, load: dict[str, int]) -> Any:
    """A trace against an application that was started for it."""
    options = {"router": router, "replicas": replicas, "prefix_dir": None, "batch": 4}
    options |= {"prefix_cache": "256MiB", "context": "64K", "stats_seconds": 1.0}
    with TemporaryDirectory() as shared, cluster(artifact, Path(shared), **options) as found:
        run = _Run(found.url, artifact.name.removesuffix(".sala"))
        run.converse(["hello"])  # the first answer waits for what is made once
        run.prompt = run.cached = 0
        run.firsts.clear()
        with ThreadPoolExecutor(replicas * 2) as threads:
            list(threads.map(run.converse, trace(seed, **load)))
    firsts = sorted(run.firsts)
    return {
        "requests": len(firsts),
        "errors": run.errors,
        "machine_load": os.getloadavg()[0],
        "prompt_tokens": run.prompt,
        "hit_rate": run.cached / run.prompt,
        "first_token": {"median": median(firsts), "p90": firsts[int(0.9 * (len(firsts) - 1))]},
    }


@click.command(help=__doc__.partition("\n")[0])
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@click.option("--part", "parts", multiple=True, type=click.Choice(["replicas", "simulation"]))
@click.option("--replicas", type=click.IntRange(2, 4), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--conversations", default=12, show_default=True)
@click.option("--turns", default=4, show_default=True)
@click.option("--words", default=2000, show_default=True, help="Of a document.")
@click.option("--sessions", default=Sizes().sessions, show_default=True, help="Of the day.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "scale-out.json")
def main(
    artifact: Path | None,
    parts: tuple[str, ...],
    replicas: int,
    rounds: int,
    conversations: int,
    turns: int,
    words: int,
    sessions: int,
    output: Path,
) -> None:
    """Measure, write and print the tables."""
    kept: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    document = {name: kept[name] for name in KEPT if name in kept}
    document |= machine_document(("sala-compile", "ray", "fsspec"), 1)
    if not parts or "replicas" in parts:
        if artifact is None:
            raise click.UsageError("the part `replicas` needs an artifact")
        load = {"conversations": conversations, "turns": turns, "words": words}
        document |= {"replicas": replicas, "artifact": artifact.name, "load": load, "rows": []}
        for number in range(rounds):
            for router in ROUTERS if number % 2 == 0 else ROUTERS[::-1]:
                row = measured(artifact.absolute(), router, replicas, number, load)
                document["rows"].append({"router": router, "round": number, **row})
                click.echo(f"{router}: {row}", err=True)
    if not parts or "simulation" in parts:
        sizes = Sizes(sessions=sessions)
        document["sizes"] = asdict(sizes)
        document["day"] = {each: Day(sizes, DAYS[each]).run() for each in ROUTERS}
    write_report(output, document, markdown)
    click.echo(output.with_suffix(".md").read_text())


def markdown(document: dict[str, Any]) -> str:
    """The page."""
    return page(
        "Requests to where their prefix lies, beside Ray's default",
        document,
        *_replicas(document),
        *_day(document),
        "Made by `python -m benchmarks.scale_out`.",
    )


def _replicas(document: dict[str, Any]) -> list[str | list[str]]:
    rows = document.get("rows")
    if not rows:
        return []
    load = document["load"]
    head = (
        "router",
        "round",
        "requests",
        "hit rate",
        "first token, median",
        "90 %",
        "errors",
        "load",
    )
    lines = [
        (
            *(NAMES[row["router"]], str(row["round"] + 1), str(row["requests"])),
            f"{row['hit_rate']:.1%}",
            *(f"{1000 * row['first_token'][name]:.0f} ms" for name in ("median", "p90")),
            str(row["errors"]),
            f"{row['machine_load']:.0f}",
        )
        for row in rows
    ]
    return [
        f"{document['replicas']} replicas of {document['artifact']} on this machine, in turns; "
        f"{load['conversations']} conversations of {load['turns']} turns, twice as many at a time "
        f"as replicas, half of them on one of three documents of {load['words']} words. The load "
        "is the system's average of processes that want a CPU: above the CPUs, others worked here "
        "too, and times say little.",
        table(head, lines, 1),
    ]


def _day(document: dict[str, Any]) -> list[str | list[str]]:
    day = document.get("day")
    if not day:
        return []
    sizes = document["sizes"]
    head = (
        "router",
        "requests",
        "hit rate",
        "wait, median",
        "99 %",
        "first token, median",
        "99 %",
        "choosing",
        "99 %",
        "publishing",
    )
    lines = [
        (
            *(NAMES[name], str(row["requests"]), f"{row['hit_rate']:.1%}"),
            *(f"{row['wait'][each]:.2f} s" for each in ("median", "p99")),
            *(f"{row['first_token'][each]:.2f} s" for each in ("median", "p99")),
            *(f"{1e6 * row[each]:.0f} us" for each in ("cost_mean", "cost_99")),
            f"{1e6 * row['publish_per_request']:.0f} us",
        )
        for name, row in day.items()
    ]
    times = day["prefix"]["hit_rate"] / day["balanced"]["hit_rate"]
    cost = day["prefix"]["cost_mean"] + day["prefix"]["publish_per_request"]
    return [
        f"A simulated day over {sizes['replicas']} replicas, each of which reads "
        f"{sizes['read_rate']:g} and answers {sizes['answer_rate']:g} tokens/s in each of "
        f"{sizes['batch']} answers and holds {sizes['cache']:,} tokens in pages of {PAGE}; they "
        f"publish every {sizes['publish_seconds']:g} s. Choosing and publishing are of a request, "
        "in time of one CPU.",
        table(head, lines, 1),
        f"Our hit rate is {times:.1f} times the default's; the router takes "
        f"{1000 * cost:.2f} ms of a request.",
    ]


if __name__ == "__main__":
    main()
