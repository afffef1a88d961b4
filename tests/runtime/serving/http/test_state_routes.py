"""/v1/states: beginnings that are read once and continued by name, also by the next server."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.http_server import Running, serving

TEXT = "the rain fell on the woods and on the old stone bridge that nobody crossed any more. " * 8
MESSAGES = [{"role": "system", "content": TEXT}]
QUESTION = [{"role": "user", "content": "where did it fall"}]


def _ask(running: Running, path: str, **body: Any) -> dict[str, Any]:
    options = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
    response = running.post(path, options | body)
    assert response.status_code == 200, response.text
    return response.json()


def _cached(reply: dict[str, Any]) -> int:
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_state_is_read_once_and_outlives_the_server(talking: Path, tmp_path: Path):
    options: dict[str, Any] = {"prefix_dir": tmp_path / "kept", "prefix_cache": "1MiB"}
    with serving(talking, **options) as running:
        for name, fields in (("chat", {"messages": MESSAGES}), ("text", {"prompt": TEXT})):
            made = running.post("/v1/states", {"id": name, **fields})
            assert made.status_code == 200, made.text
            assert made.json()["tokens"] >= len(TEXT)
            assert made.json()["bytes"] > 0
        whole = _ask(running, "/v1/chat/completions", messages=MESSAGES + QUESTION)
        text = _ask(running, "/v1/completions", prompt=TEXT + "so")
        listed = running.get("/v1/states").json()["data"]
        assert [each["id"] for each in listed] == ["chat", "text"]
    with serving(talking, **options) as running:
        again = _ask(running, "/v1/chat/completions", messages=QUESTION, state_id="chat")
        assert again["choices"] == whole["choices"]
        assert again["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]
        assert _cached(again) > len(TEXT) // 2
        continued = _ask(running, "/v1/completions", prompt="so", state_id="text")
        assert continued["choices"] == text["choices"]
        assert _cached(continued) > len(TEXT) // 2
        assert running.get("/v1/states/chat").json()["object"] == "state"
        assert _delete(running, "chat").json()["deleted"] is True
        assert running.get("/v1/states/chat").status_code == 404


def _delete(running: Running, name: str) -> Any:
    return httpx.delete(f"{running.url}/v1/states/{name}")


def test_what_is_no_state_is_refused(talking: Path, tmp_path: Path):
    with serving(talking, prefix_dir=tmp_path / "kept", prefix_cache="1MiB") as running:
        for body in (
            {"id": "a"},
            {"prompt": "x"},
            {"id": "../a", "prompt": "x"},
            {"id": "a/b", "prompt": "x"},
            {"id": "", "prompt": "x"},
            {"id": "a", "prompt": ["x", "y"]},
            {"id": "a", "prompt": "x", "messages": QUESTION},
            {"id": 5, "prompt": "x"},
        ):
            response = running.post("/v1/states", body)
            assert response.status_code == 400, response.text
            assert response.json()["error"]["param"]
        assert running.get("/v1/states").json()["data"] == []
        for name in ("nothing", "../../etc/passwd", "a%2Fb"):
            assert running.get(f"/v1/states/{name}").status_code in (400, 404)
            assert _delete(running, name).status_code in (400, 404)
        for path, body in (
            ("/v1/completions", {"prompt": "a"}),
            ("/v1/chat/completions", {"messages": QUESTION}),
        ):
            response = running.post(path, body | {"state_id": "nothing"})
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "state_not_found"
        running.post("/v1/states", {"id": "text", "prompt": TEXT})
        response = running.post("/v1/chat/completions", {"messages": QUESTION, "state_id": "text"})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "state_id"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_directory_it_is_said(server: Running, method: str):
    if method == "GET":
        response = server.get("/v1/states")
    else:
        response = server.post("/v1/states", {"id": "a", "prompt": "b"})
    assert response.status_code == 400
    assert "--prefix-dir" in response.json()["error"]["message"]
