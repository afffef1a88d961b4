"""Completions as streams over HTTP, with the time at which each piece of an answer arrived.

A client of its own: it shares the processors with the server, and takes little of them. What
arrives is noted with its time, and read when the stream has ended.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class StreamTimes:
    """When a request was sent, and when each piece of its answer arrived (seconds).

    `packets` are what arrived so far; the rest is known when the stream has ended. `tokens` are
    those of the answer by the server's count, else the pieces.
    """

    sent: float
    packets: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    arrivals: list[float] = field(default_factory=list[float])
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    text: str = ""

    @property
    def first(self) -> float:
        """Seconds to the first piece."""
        return self.arrivals[0] - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces."""
        return [b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False)]


class _Reader(asyncio.Protocol):
    """Notes what arrives and when."""

    def __init__(self, packets: list[tuple[float, bytes]]) -> None:
        self._packets = packets
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._packets.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def stream_completion(
    port: int, body: dict[str, Any], times: StreamTimes | None = None
) -> StreamTimes:
    """Send a request to /v1/completions and read its stream to the end; RuntimeError if refused.

    The `packets` of `times` are there as they come, the rest at the end, or when it is cancelled.
    """
    data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    found = StreamTimes(0.0) if times is None else times
    loop = asyncio.get_running_loop()
    writer, reader = await loop.create_connection(lambda: _Reader(found.packets), "127.0.0.1", port)
    try:
        found.sent = time.perf_counter()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += "Content-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await reader.ended
    finally:
        writer.close()
        _read(found)
    return found


def _read(times: StreamTimes) -> None:
    """Read all packets: a line has the time of the packet in which it ended."""
    whole = b"".join(data for _, data in times.packets)
    if whole and b" 200 " not in whole.partition(b"\r\n")[0]:
        raise RuntimeError(repr(whole[:4000]))
    rest = b""
    for at, data in times.packets:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                _note(times, json.loads(line[6:]), at)
    times.tokens = times.tokens or len(times.arrivals)


def _note(times: StreamTimes, chunk: dict[str, Any], at: float) -> None:
    if "error" in chunk:
        raise RuntimeError(str(chunk["error"]))
    text = "".join(choice.get("text") or "" for choice in chunk.get("choices", ()))
    if text:
        times.arrivals.append(at)
        times.text += text
    usage = chunk.get("usage")
    if usage:
        times.tokens, times.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
        details = usage.get("prompt_tokens_details") or {}
        times.cached_tokens = details.get("cached_tokens") or 0
