"""A client that leaves ends what it asked for within a step: streamed or not, running or not."""

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sala_compile.runtime.serving.http import answer_routes
from tests.support.http_server import Running, events, serving, until

LONG = {"prompt": "hello", "max_tokens": 30_000, "ignore_eos": True}
"""An answer that takes longer than a test may."""


@pytest.fixture(scope="module")
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from tests.support.http_server import write_talking

    path = write_talking(tmp_path_factory.mktemp("long") / "long.sala", context=1 << 16)
    with serving(path, batch=1) as running:
        yield running


def _ask(running: Running, body: dict[str, Any]) -> socket.socket:
    """A request on its way."""
    data = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", running.port), 30)
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_running_answer_ends(one_at_a_time: Running, stream: bool):
    connection = _ask(one_at_a_time, LONG | {"stream": stream})
    until(lambda: not one_at_a_time.idle())
    connection.close()
    until(one_at_a_time.idle)


@pytest.mark.parametrize("stream", [False, True])
def test_a_waiting_request_never_runs(one_at_a_time: Running, stream: bool):
    running = _ask(one_at_a_time, LONG)
    until(lambda: not one_at_a_time.idle())
    waiting = _ask(one_at_a_time, LONG | {"prompt": "abc", "stream": stream})
    until(lambda: len(one_at_a_time.server.server_state.tasks) == 2)
    waiting.close()
    until(lambda: len(one_at_a_time.server.server_state.tasks) == 1)
    running.close()
    until(one_at_a_time.idle)
    assert one_at_a_time.post("/v1/completions", {"prompt": "a"}).status_code == 200


def test_every_choice_ends(one_at_a_time: Running):
    connection = _ask(one_at_a_time, LONG | {"n": 5, "stream": True})
    assert b"text" in connection.recv(65536) + connection.recv(65536)
    connection.close()
    until(one_at_a_time.idle)
    assert one_at_a_time.post("/v1/completions", {"prompt": "a"}).status_code == 200


def test_leaving_is_logged(one_at_a_time: Running, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "sala_compile.serve"):
        connection = _ask(one_at_a_time, LONG | {"stream": True})
        until(lambda: not one_at_a_time.idle())
        connection.close()
        until(lambda: "left by the client" in caplog.text)
    assert "hello" not in caplog.text


def test_a_reader_that_reads_nothing_holds_up_nobody(one_at_a_time: Running):
    """Its stream waits in memory; others are answered, since the engine does not wait for it."""
    slow = _ask(one_at_a_time, LONG | {"stream": True, "max_tokens": 4000})
    assert slow.recv(100)
    assert one_at_a_time.post("/v1/completions", {"prompt": "a"}).status_code == 200
    found = b""
    while b"[DONE]" not in found[-64:]:
        found += slow.recv(1 << 20)
    texts = [json.loads(each) for each in events(found.decode())[:-1]]
    assert sum(len(c["choices"][0]["text"]) for c in texts) == 4000
    slow.close()


def test_a_connection_is_used_again_after_a_stream(one_at_a_time: Running):
    with httpx.Client(base_url=one_at_a_time.url, timeout=60) as client:
        for _ in range(3):
            body = {"prompt": "a", "max_tokens": 3, "stream": True}
            assert events(client.post("/v1/completions", json=body))[-1] == "[DONE]"
        assert len(one_at_a_time.server.server_state.connections) == 1


def test_a_reader_that_takes_nothing_for_long_has_left(
    one_at_a_time: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(answer_routes, "PING_SECONDS", 0.05)
    monkeypatch.setattr(answer_routes, "SEND_SECONDS", 0.2)
    for listening in one_at_a_time.server.servers[0].sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # room for little
    slow = _ask(one_at_a_time, LONG | {"stream": True, "logprobs": 5})
    until(lambda: not one_at_a_time.idle())
    until(one_at_a_time.idle)
    assert "a client does not read its stream" in caplog.text
    slow.close()
