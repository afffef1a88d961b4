"""Requests of every kind, and their answers over HTTP: whole, streamed, left on the way."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

OPENINGS, LONGEST = 24, 2000
_SECONDS = 300.0


@dataclass(slots=True)
class MixedRequest:
    """A body of /v1/completions; `leaves_after` are the chunks after which its client leaves."""

    body: dict[str, Any]
    leaves_after: int | None = None
    client: int = 0
    found: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """For each choice the lists of log probabilities that arrived, and its `finish_reason`."""
    cached: int = 0


def mixed_requests(vocabulary: int, count: int, random: np.random.Generator) -> list[MixedRequest]:
    """So many requests; prompts begin alike, some are equal, some are long."""
    lengths = random.choice([40, 200, 700, LONGEST], OPENINGS, p=[0.3, 0.4, 0.2, 0.1])
    openings = [random.integers(0, vocabulary, length) for length in lengths]
    return [_request(openings, vocabulary, random) for _ in range(count)]


def _request(
    openings: list[np.ndarray], vocabulary: int, random: np.random.Generator
) -> MixedRequest:
    opening = openings[random.integers(OPENINGS)]
    ending = np.random.default_rng(int(random.integers(4))).integers(0, vocabulary, 40)
    prompt = [*opening.tolist(), *ending[: int(random.choice([1, 3, 33]))].tolist()]
    body: dict[str, Any] = {
        "prompt": prompt,
        "max_tokens": int(random.choice([1, 5, 30, 120], p=[0.1, 0.3, 0.4, 0.2])),
        "logprobs": int(random.integers(0, 4)),
        "ignore_eos": bool(random.random() < 0.7),
        "prefix_reuse": str(random.choice(["any", "read", "none"], p=[0.6, 0.3, 0.1])),
        "priority": int(random.integers(2)),
        "stream": bool(random.random() < 0.6),
        "temperature": 0,
    }
    if random.random() < 0.6:
        body |= {"temperature": 0.8, "seed": int(random.integers(1000))}
        more = {"top_k": 5, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.3}
        more |= {"presence_penalty": 0.5, "frequency_penalty": 0.5, "logit_bias": {"7": 2.0}}
        body |= {name: more[name] for name in random.choice(sorted(more), 2, replace=False)}
    if random.random() < 0.1:
        body["n"] = 2
    if random.random() < 0.1:
        body |= {"echo": True, "max_tokens": 5}
    request = MixedRequest(body, client=int(random.integers(4)))
    if body["stream"] and random.random() < 0.2:
        request.leaves_after = int(random.integers(1, 10))
    return request


async def answer(url: str, request: MixedRequest) -> bool:
    """Send a request; whether it was answered, or left as it should be. False to send it again."""
    headers = {"authorization": f"Bearer key-{request.client}"}
    request.found = [{} for _ in range(request.body.get("n", 1))]
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, headers=headers) as client:
            if request.body["stream"]:
                return await _streamed(client, url, request)
            response = await client.post(url, json=request.body)
            if response.status_code == 200:
                _note(request, response.json())
    except httpx.TransportError:
        return False
    return _accepted(response.status_code, response.text)


async def _streamed(client: httpx.AsyncClient, url: str, request: MixedRequest) -> bool:
    body = request.body | {"stream_options": {"include_usage": True}}
    async with client.stream("POST", url, json=body) as response:
        if response.status_code != 200:
            return _accepted(response.status_code, (await response.aread()).decode())
        chunks = 0
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                return True
            if line.startswith("data: "):
                document = json.loads(line[6:])
                if "error" in document:
                    return _accepted(503, line)
                _note(request, document)
                chunks += 1
            if request.leaves_after is not None and chunks >= request.leaves_after:
                return True
    return False


def _accepted(status: int, text: str) -> bool:
    """True for 200, False for what is to be sent again; RuntimeError for what must not be."""
    if status in (429, 503):
        return False
    if status != 200:
        raise RuntimeError(f"{status}: {text[:400]}")
    return True


def _note(request: MixedRequest, document: dict[str, Any]) -> None:
    usage = document.get("usage") or {}
    request.cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", request.cached)
    for choice in document["choices"]:
        found = request.found[choice["index"]]
        for name, values in (choice["logprobs"] or {}).items():
            found.setdefault(name, []).extend(values)
        found["text"] = found.get("text", "") + choice["text"]
        found["finish_reason"] = choice["finish_reason"] or found.get("finish_reason")


async def answered(url: str, request: MixedRequest) -> int:
    """Send a request until it is answered; how often it had to be sent again."""
    again = 0
    while not await answer(url, request):
        again += 1
        await asyncio.sleep(0.2)
    return again


def differs(one: MixedRequest, alone: MixedRequest) -> str | None:
    """Where an answer is not that of the same request alone, to the bit; None if it is.

    Of one whose client left, what had arrived.
    """
    for index, (found, whole) in enumerate(zip(one.found, alone.found, strict=True)):
        for name, values in found.items():
            expected = whole.get(name)
            if one.leaves_after is not None and name != "finish_reason":
                expected = (whole.get(name) or [])[: len(values)]
            if values != expected and not (one.leaves_after is not None and values is None):
                return (
                    f"choice {index}, {name}: {str(values)[:200]} instead of {str(expected)[:200]}"
                )
    return None
