"""Connections that are slow, large, many or no HTTP: answered or closed, and nobody waits."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sala_compile.runtime.serving.http.request_limits import RequestLimits
from sala_compile.runtime.serving.scheduling.scheduling_options import SchedulingOptions
from sala_compile.runtime.serving.work.job import Job
from tests.support.http_server import Running, serving, until
from tests.support.raw_http import talk
from tests.support.served_jobs import Told

LIMITS = RequestLimits(
    header_bytes=8 << 10,
    header_seconds=1.0,
    body_bytes=1 << 20,
    body_seconds=1.0,
    held_bytes=3 << 20,
)
JSON = "Host: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def limited(talking: Path) -> Iterator[Running]:
    with serving(talking, limits=LIMITS) as running:
        yield running


def _post(length: int | None = None) -> bytes:
    size = (
        f"Content-Length: {length}\r\n" if length is not None else "Transfer-Encoding: chunked\r\n"
    )
    return f"POST /v1/completions HTTP/1.1\r\n{JSON}{size}\r\n".encode()


def _error(answer: bytes) -> dict[str, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/json" in head
    return json.loads(body)["error"]


@pytest.mark.parametrize("data", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n" * 9])
def test_unfinished_headers_are_closed(limited: Running, data: bytes):
    answer = talk(limited.port, data)
    assert answer.startswith(b"HTTP/1.1 408")
    assert "headers" in _error(answer)["message"]


def test_headers_that_trickle_are_closed(limited: Running):
    data = b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: " + b"a" * 200
    assert talk(limited.port, data, pause=0.02).startswith(b"HTTP/1.1 408")


def test_the_clock_runs_for_later_headers_too(limited: Running):
    whole = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = talk(limited.port, whole + b"GET /hea")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") <= 2


def test_headers_may_not_be_long(limited: Running):
    data = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (9 << 10)
    answer = talk(limited.port, data)
    assert answer.startswith(b"HTTP/1.1 431")
    assert _error(answer)["message"]


def test_what_is_no_http_has_an_error_body(limited: Running):
    for data in (b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        answer = talk(limited.port, data)
        assert answer.startswith(b"HTTP/1.1 400")
        assert _error(answer)["type"] == "invalid_request_error"


def test_a_large_body_is_refused_before_it_is_read(limited: Running):
    answer = talk(limited.port, _post((1 << 20) + 1), until=b"}}")
    assert answer.startswith(b"HTTP/1.1 413")
    assert _error(answer)["code"] == "body_too_large"


def test_a_client_that_sends_a_large_body_all_the_same_reads_the_refusal(limited: Running):
    response = limited.post("/v1/completions", {"prompt": "a" * (3 << 20)})
    assert response.status_code == 413


def test_a_large_body_in_parts_is_refused_on_the_way(limited: Running):
    part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = talk(limited.port, _post() + part * 20, until=b"}}")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_arrive_is_given_up(limited: Running):
    answer = talk(limited.port, _post(100) + b'{"prompt"')
    assert answer.startswith(b"HTTP/1.1 408")
    assert "body" in _error(answer)["message"]


def _trickle(connection: socket.socket) -> None:
    for _ in range(500):
        connection.sendall(b"a")
        time.sleep(0.02)


def test_the_rest_of_a_body_that_nobody_reads_is_dropped_in_time(limited: Running):
    with socket.create_connection(("127.0.0.1", limited.port), 20) as connection:
        connection.sendall(_post(2 << 20))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionError):
            _trickle(connection)


def test_all_bodies_together_have_a_limit(limited: Running):
    """Three of 1 MiB may wait for their ends; the next is told to come later."""
    waiting: list[socket.socket] = []
    try:
        for _ in range(3):
            waiting.append(socket.create_connection(("127.0.0.1", limited.port)))
            waiting[-1].sendall(_post(1 << 20) + b" " * ((1 << 20) - 100))
        codes: set[int] = set()

        def refused() -> bool:
            codes.add(limited.post("/v1/completions", {"prompt": "a" * 10_000}).status_code)
            return 503 in codes

        until(refused, 5)
    finally:
        for each in waiting:
            each.close()
    until(lambda: limited.post("/v1/completions", {"prompt": "a"}).status_code == 200)


async def _burst(port: int, count: int) -> list[int]:
    """The status that each of `count` requests gets, all of which are connected before any."""
    body = b'{"prompt": "hello", "max_tokens": 20}'
    head = f"POST /v1/completions HTTP/1.1\r\n{JSON}Connection: close\r\n"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    opened = await asyncio.gather(
        *(asyncio.open_connection("127.0.0.1", port) for _ in range(count))
    )

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(data)
        answer = await reader.read()
        writer.close()
        assert json.loads(answer.partition(b"\r\n\r\n")[2]), "a whole answer"
        return int(answer.split()[1])

    return await asyncio.gather(*(ask(*each) for each in opened))


@pytest.mark.parametrize("count", [200, 500])
def test_many_connections_at_once_are_all_answered(talking: Path, count: int):
    with serving(talking, scheduling=SchedulingOptions(queue=64)) as running:
        codes = asyncio.run(_burst(running.port, count))
        assert set(codes) <= {200, 429, 503}
        assert codes.count(200) >= 64
        assert running.post("/v1/completions", {"prompt": "a"}).status_code == 200
        until(running.idle)


@contextmanager
def _held_engine(running: Running) -> Iterator[None]:
    """The engine takes no turn during the block: what is submitted waits."""
    release = threading.Event()
    held = running.engine.between_steps(lambda _: release.wait(60))
    try:
        yield
    finally:
        release.set()
        assert held.result(60), "the engine was held for the whole block"


def test_a_full_queue_says_when_to_come_again(talking: Path):
    told = [Told() for _ in range(8)]
    with serving(talking, scheduling=SchedulingOptions(queue=8)) as running:
        with _held_engine(running):
            running.engine.submit(*(Job(np.zeros(1, np.int32), 4, each) for each in told))
            response = running.post("/v1/completions", {"prompt": "a"})
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        error = response.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        until(lambda: all(each.end is not None for each in told))
        assert running.post("/v1/completions", {"prompt": ["a"] * 8}).status_code == 200


def test_more_answers_than_may_ever_wait_are_refused_for_good(talking: Path):
    with serving(talking, scheduling=SchedulingOptions(queue=8)) as running:
        for body in ({"prompt": ["a"] * 9}, {"prompt": ["a"] * 3, "n": 3}):
            response = running.post("/v1/completions", body)
            assert response.status_code == 400
            assert "retry-after" not in response.headers
            assert "9 answers" in response.json()["error"]["message"]


def test_connections_beyond_the_limit_are_refused(talking: Path):
    with serving(talking, limits=RequestLimits(connections=3)) as running:
        open_ones = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(3)]
        until(lambda: len(running.server.server_state.connections) == 3)
        answer = talk(running.port, b"")
        assert answer.startswith(b"HTTP/1.1 503")
        for each in open_ones:
            each.close()
        until(lambda: not running.server.server_state.connections)
        assert running.get("/health").status_code == 200
