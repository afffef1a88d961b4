"""Requests of mixed lengths, the same for every server."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.served.stream_client import StreamTimes, stream_completion

_TEXT = (
    "river stone light garden winter paper ocean silver window market engine forest letter "
    "summer bridge copper harbor meadow signal thunder village weather yellow morning corner "
    "between measure forward general station picture reason second travel narrow gentle"
)
WORDS = _TEXT.split()
WORDS_OF_PROMPTS, TOKENS_OF_ANSWERS = (16, 400), (24, 80)


@dataclass(frozen=True, slots=True)
class Mix:
    """What came of a number of requests over so many streams (seconds)."""

    streams: int
    seconds: float
    answers: list[StreamTimes]

    @property
    def numbers(self) -> dict[str, float]:
        """Throughput, first tokens, gaps."""
        firsts = [each.first for each in self.answers if each.arrivals]
        gaps = [gap for each in self.answers for gap in each.gaps]
        tokens = sum(each.tokens for each in self.answers)
        prompts = sum(each.prompt_tokens for each in self.answers)
        found = {"tokens_per_second": tokens / self.seconds, "answers": len(self.answers)}
        found |= {"prompt_tokens": prompts, "answer_tokens": tokens}
        for name, values in (("first", firsts), ("gap", gaps)):
            for part in (50, 95, 99):
                found[f"{name}_p{part}"] = float(np.percentile(values, part)) if values else 0.0
        return found


def requests(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Bodies of requests, by a seed."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        words = random.choice(WORDS, int(random.integers(*WORDS_OF_PROMPTS)))
        tokens = int(random.integers(*TOKENS_OF_ANSWERS))
        body = {"prompt": " ".join(words), "max_tokens": tokens, "temperature": 0}
        yield {**body, "ignore_eos": True}


def run_mix(port: int, streams: int, count: int, seed: int) -> Mix:
    """Ask so many requests over so many streams, each of which asks one after the other."""
    waiting = list(requests(count, seed))[::-1]
    answers: list[StreamTimes] = []

    async def ask() -> None:
        while waiting:
            answers.append(await stream_completion(port, waiting.pop()))

    async def all_streams() -> None:
        await asyncio.gather(*(ask() for _ in range(streams)))

    begun = time.perf_counter()
    asyncio.run(all_streams())
    return Mix(streams, time.perf_counter() - begun, answers)


def first_token(port: int, prompt: Sequence[int] | str) -> StreamTimes:
    """The answer of one token to a prompt."""
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0}
    return asyncio.run(stream_completion(port, body))
