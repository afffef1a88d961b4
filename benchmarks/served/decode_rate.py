"""Eight answers at a time over HTTP, by the scheduler alone, and as sala-bench measures them."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

import sala_compile
from benchmarks.served.long_prompts import random_ids
from benchmarks.served.stream_client import StreamTimes, stream_completion
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.event import Event, TokenChosen
from sala_compile.runtime.serving.work.job import Job

BATCH, LENGTH, TOKENS = 8, 512, 96


def decode_over_http(port: int, vocabulary: int, seed: int) -> float:
    """Tokens a second of eight answers, from when all have begun until the first one ends."""

    async def answered() -> list[StreamTimes]:
        prompts = [random_ids(vocabulary, LENGTH, seed + n) for n in range(BATCH)]
        body = {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
        return await asyncio.gather(
            *(stream_completion(port, {**body, "prompt": prompt}) for prompt in prompts)
        )

    return rate_of(asyncio.run(answered()))


def decode_by_scheduler(artifact: Path, threads: int, seed: int) -> float:
    """Tokens a second of the same answers in this process, without HTTP and without text."""

    def noted(answer: StreamTimes, events: Sequence[Event]) -> None:
        if any(isinstance(event, TokenChosen) for event in events):
            answer.arrivals.append(time.perf_counter())
            answer.tokens += 1

    answers = [StreamTimes(0.0) for _ in range(BATCH)]
    sizes = {"context": LENGTH + TOKENS, "batch": BATCH, "threads": threads}
    with sala_compile.load(artifact, **sizes) as model:
        scheduler = Scheduler(model.engine)
        for number, answer in enumerate(answers):
            prompt = np.array(random_ids(model.vocabulary, LENGTH, seed + number), np.int32)
            scheduler.add(Job(prompt, TOKENS, partial(noted, answer)))
        while scheduler.busy:
            scheduler.turn()
    return rate_of(answers)


def rate_of(answers: list[StreamTimes]) -> float:
    """Tokens a second of all answers together, while every one of them runs.

    RuntimeError if an answer came in fewer than two pieces in that time.
    """
    if any(not each.arrivals for each in answers):
        raise RuntimeError("an answer had no text")
    begin = max(each.arrivals[0] for each in answers)
    end = min(each.arrivals[-1] for each in answers)
    rates = []
    for each in answers:
        inside = [at for at in each.arrivals if begin <= at <= end]
        if len(inside) < 2:
            raise RuntimeError("the answers do not run at the same time: take longer ones")
        pieces = each.tokens / len(each.arrivals)
        rates.append((len(inside) - 1) * pieces / (inside[-1] - inside[0]))
    return float(np.sum(rates))


def decode_of_bench(artifact: Path, threads: int, seconds: float) -> float:
    """Tokens a second of the same batch after the same prompts, by sala-bench."""
    start = "from sala_compile.runtime.cli.bench import main; main()"
    command = [sys.executable, "-c", start, str(artifact), "--json", "--seconds", str(seconds)]
    command += ["--lengths", str(LENGTH), "--batch", str(BATCH), "--threads", str(threads)]
    document = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    [row] = [r for r in document["rows"] if (r["work"], r["batch"]) == ("decode", BATCH)]
    return row["tokens_per_second"]
