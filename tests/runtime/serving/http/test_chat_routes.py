"""/v1/chat/completions and the routes about texts: form, numbers, streams."""

import json
from typing import Any

import pytest

from sala_compile.runtime.generation.generation_config import parse_generation_config
from sala_compile.runtime.serving.http.sampling_choice import default_sampling
from tests.support.http_server import LETTERS, Running, events

ROUTE = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def ask(server: Running, **fields: Any) -> dict[str, Any]:
    defaults = {"messages": HELLO, "temperature": 0, "max_tokens": 6, "ignore_eos": True}
    response = server.post(ROUTE, defaults | fields)
    assert response.status_code == 200, response.text
    return response.json()


def stream(server: Running, **fields: Any) -> list[dict[str, Any]]:
    defaults = {"messages": HELLO, "temperature": 0, "max_tokens": 6, "ignore_eos": True}
    response = server.post(ROUTE, defaults | fields | {"stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    found = events(response)
    assert found[-1] == "[DONE]"
    return [json.loads(each) for each in found[:-1]]


def test_a_chat_is_the_completion_of_its_text(server: Running):
    rendered = server.post("/apply-template", {"messages": HELLO}).json()["prompt"]
    assert rendered == "hello.!"
    body = {"prompt": rendered, "temperature": 0, "max_tokens": 6, "ignore_eos": True}
    completion = server.post("/v1/completions", body).json()
    found = ask(server)
    assert found["object"] == "chat.completion"
    (choice,) = found["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": completion["choices"][0]["text"],
        "refusal": None,
    }
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] is None
    assert found["usage"] == completion["usage"]


def test_the_first_chunk_has_the_role_and_one_the_end(server: Running):
    whole = ask(server, n=3, seed=1, temperature=1.2, max_tokens=9)
    chunks = stream(server, n=3, seed=1, temperature=1.2, max_tokens=9)
    for name in ("id", "created", "model", "system_fingerprint"):
        assert len({chunk[name] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert all("usage" not in chunk for chunk in chunks)
    for choice in whole["choices"]:
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in each["delta"] for each in own[1:])
        assert all(each["delta"]["content"] for each in own[1:-1]), "no empty chunks"
        assert own[-1]["delta"] == {}
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        assert all(each["finish_reason"] is None for each in own[:-1])
        text = "".join(each["delta"].get("content") or "" for each in own)
        assert text == choice["message"]["content"]


def test_usage_is_the_last_chunk_on_request(server: Running):
    chunks = stream(server, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == ask(server)["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert not any(chunk.get("usage") for chunk in stream(server))
    assert not any(c.get("usage") for c in stream(server, stream_options={"include_usage": False}))


def test_logprobs_of_every_token_with_their_bytes(server: Running):
    (choice,) = ask(server, logprobs=True, top_logprobs=3)["choices"]
    entries = choice["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == list(choice["message"]["content"])
    for entry in entries:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert len(entry["top_logprobs"]) == 3
        best = entry["top_logprobs"][0]
        assert (best["token"], best["logprob"]) == (entry["token"], entry["logprob"])
    chunks = stream(server, logprobs=True, top_logprobs=3)
    streamed = [
        entry
        for chunk in chunks
        if chunk["choices"][0]["logprobs"]
        for entry in chunk["choices"][0]["logprobs"]["content"]
    ]
    assert streamed == entries
    (plain,) = ask(server, logprobs=True)["choices"]
    assert all(entry["top_logprobs"] == [] for entry in plain["logprobs"]["content"])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_limit(server: Running, name: str):
    body = {"messages": HELLO, "ignore_eos": True, "temperature": 0, name: 4}
    assert server.post(ROUTE, body).json()["usage"]["completion_tokens"] == 4
    both = body | {"max_tokens": 9, "max_completion_tokens": 4}
    assert server.post(ROUTE, both).json()["usage"]["completion_tokens"] == 4


def test_without_a_limit_an_answer_ends_at_the_context(server: Running):
    messages = [{"role": "user", "content": "a" * 4000}]
    found = ask(server, messages=messages, max_tokens=None)
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["total_tokens"] == 4096
    more = ask(server, messages=messages, max_tokens=1_000_000)
    assert more["usage"]["total_tokens"] == 4096


def test_a_stop_leaves_nothing_of_itself(server: Running):
    text = ask(server, max_tokens=30)["choices"][0]["message"]["content"]
    stop = text[7:10]
    expected = text[: text.index(stop)]
    assert ask(server, max_tokens=30, stop=[stop])["choices"][0]["message"]["content"] == expected
    chunks = stream(server, max_tokens=30, stop=stop)
    parts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
    assert "".join(parts) == expected
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
    ],
)
def test_roles(server: Running, messages: list[dict[str, str]]):
    found = server.post("/apply-template", {"messages": messages}).json()
    assert found["prompt"] == "a.b.!"
    assert ask(server, messages=messages)["choices"]


def test_texts_become_ids_and_back(server: Running):
    found = server.post("/tokenize", {"prompt": "hello", "return_token_strs": True}).json()
    assert found["tokens"] == [LETTERS.index(letter) for letter in "hello"]
    assert found["count"] == 5
    assert found["max_model_len"] == 4096
    assert found["token_strs"] == list("hello")
    assert server.post("/tokenize", {"content": "hello"}).json()["tokens"] == found["tokens"]
    of_chat = server.post("/tokenize", {"messages": HELLO, "add_generation_prompt": False}).json()
    assert of_chat["tokens"] == [LETTERS.index(letter) for letter in "hello."]
    text = server.post("/detokenize", {"tokens": found["tokens"]}).json()
    assert text["prompt"] == text["content"] == "hello"
    assert server.post("/detokenize", {"tokens": []}).json()["prompt"] == ""


def test_the_models_that_there_are(server: Running):
    listed = server.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["talking"]
    assert server.get("/v1/models/talking").json() == listed["data"][0]
    assert listed["data"][0]["default_sampling"] == {}
    assert server.get("/tokenizer_info").json()["chat_template"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ({"do_sample": True, "top_p": 0.9}, {"temperature": 1.0, "top_k": 50, "top_p": 0.9}),
        ({"do_sample": False}, {"temperature": 0.0}),
        ({"top_p": 0.9}, {"top_p": 0.9}),
    ],
)
def test_what_the_checkpoint_says_of_sampling(file: dict[str, Any], expected: dict[str, Any]):
    known = parse_generation_config(json.dumps(file).encode(), "generation_config.json")
    assert default_sampling(known) == expected


def test_progress_while_a_prompt_is_read(server: Running):
    messages = [{"role": "user", "content": "a" * 300}]
    chunks = stream(server, messages=messages, return_progress=True, timings=True)
    progress = [chunk["prompt_progress"] for chunk in chunks if not chunk["choices"]]
    assert progress
    done = [each["processed"] for each in progress]
    assert done == sorted(done)
    assert all(each["total"] == 302 for each in progress)
    times = chunks[-1]["timings"]
    assert set(times) >= {"queue_seconds", "prompt_seconds", "answer_seconds", "tokens_per_second"}
    assert not any("timings" in chunk for chunk in chunks[:-1])
    assert not any(not chunk["choices"] for chunk in stream(server, messages=messages))
    assert ask(server, timings=True)["timings"]["answer_seconds"] > 0


def test_what_dashboards_and_the_page_read(server: Running):
    ask(server)
    text = server.get("/metrics").text
    for name in ("num_requests_running", "prompt_tokens_total", "kv_cache_usage_perc"):
        assert f"\nsala_{name} " in text
    usage = server.get("/usage").json()
    assert usage["context"] == 4096
    assert usage["memory"]["planned_bytes"] > 0
