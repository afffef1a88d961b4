"""What a request, a connection and all of them together may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of what clients send; what is beyond one is refused by name.

    `header_seconds` bounds the time from the first byte of a request (or the connection's begin)
    to the end of its headers, `body_seconds` that from there to the end of its body. `held_bytes`
    are those of the bodies of all requests that are there. `requests` are answered or wait at a
    time, `connections` are open.
    """

    header_bytes: int = 64 << 10
    header_seconds: float = 30.0
    body_bytes: int = 16 << 20
    body_seconds: float = 120.0
    held_bytes: int = 256 << 20
    requests: int = 2048
    connections: int = 4096
    choices: int = 128
    prompts: int = 2048
    stops: int = 16
    stop_characters: int = 1024
    biases: int = 1024
    allowed: int = 65536
    top_logprobs: int = 20
    messages: int = 16384
    tools: int = 256


LIMITS = RequestLimits()
"""Those of every server; tests have their own."""
