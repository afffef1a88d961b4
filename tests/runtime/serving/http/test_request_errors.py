"""Everything that is wrong with a request is one 4xx with OpenAI's error body."""

import json
from typing import Any

import httpx
import pytest

from tests.support.http_server import Running

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]


def refusal(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error, whose body has OpenAI's form."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert body["error"]["type"] in ("invalid_request_error", "authentication_error")
    assert "Traceback" not in response.text
    return body["error"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/detokenize", "/apply-template"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b"{}{}",
        b"\xff\xfe{}",
        b'{"model": "\\ud800"}',
        b"[" * 100_000,
        b'{"prompt": ' + b"[" * 100_000,
        b'{"model": 5}',
        b'{"n": 1e999}',
    ],
    ids=lambda body: repr(body[:16]),
)
def test_bodies_that_are_no_request(server: Running, path: str, body: bytes):
    headers = {"content-type": "application/json"}
    refusal(httpx.post(server.url + path, content=body, headers=headers))


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 1.5),
        ("top_k", -2),
        ("top_k", 0.5),
        ("min_p", 2),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("repetition_penalty", 0),
        ("n", 0),
        ("n", 1.5),
        ("n", 100_000),
        ("max_tokens", -1),
        ("max_tokens", "many"),
        ("max_tokens", 2**40),
        ("seed", "x"),
        ("seed", 2**70),
        ("stop", 5),
        ("stop", [5]),
        ("stop", ""),
        ("stop", ["a"] * 17),
        ("stop", "a" * 1025),
        ("stream", "yes"),
        ("stream_options", {"include_usage": True}),
        ("stop_token_ids", [29]),
        ("stop_token_ids", [-1]),
        ("logit_bias", {"29": 1}),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"1": "a"}),
        ("logit_bias", [1]),
        ("logit_bias", {str(i): 0 for i in range(1025)}),
        ("min_tokens", 5000),
        ("priority", "high"),
        ("prefix_reuse", "some"),
        ("truncate_prompt_tokens", -2),
        ("timeout", 0),
        ("timeout", "30"),
        ("cache_salt", ""),
        ("cache_salt", 5),
        ("allowed_token_ids", []),
        ("allowed_token_ids", [29]),
        ("allowed_token_ids", [-1]),
    ],
    ids=lambda value: str(value)[:24],
)
def test_fields_of_the_wrong_kind_or_range(server: Running, path: str, field: str, value: Any):
    base = {"messages": HELLO} if path == CHAT else {"prompt": "hello"}
    error = refusal(server.post(path, base | {field: value}))
    assert error["param"] is not None
    assert error["param"].startswith(field)


@pytest.mark.parametrize(
    "prompt",
    [
        *(None, [], {}, 5, True, [[]], [""], "", [1, "a"], [[1, "a"]], [[1.5]], [None], [[[1]]]),
        *([29], [-1], [[1], [10**30]], [2**63], [True], ["a", 1], [["a"]]),
    ],
    ids=str,
)
def test_prompts_that_are_none(server: Running, prompt: Any):
    error = refusal(server.post(COMPLETIONS, {"prompt": prompt, "max_tokens": 1}))
    assert error["param"].startswith("prompt")


@pytest.mark.parametrize("prompt", ["a" * 4097, [1] * 4097, ["a", "b" * 5000], "a" * 2_000_000])
def test_a_prompt_beyond_the_context(server: Running, prompt: Any):
    error = refusal(server.post(COMPLETIONS, {"prompt": prompt}))
    assert error["code"] == "context_length_exceeded"
    assert "4096 tokens" in error["message"]


def test_a_conversation_beyond_the_context(server: Running):
    messages = [{"role": "user", "content": "a" * 5000}]
    error = refusal(server.post(CHAT, {"messages": messages}))
    assert error["code"] == "context_length_exceeded"
    stream = server.post(CHAT, {"messages": messages, "stream": True})
    assert refusal(stream)["code"] == "context_length_exceeded", "before a stream begins"


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/apply-template"])
def test_another_model_is_not_found(server: Running, path: str):
    body = {"model": "gpt-4", "messages": HELLO, "prompt": "a"}
    if path == "/tokenize":
        body.pop("messages")
    error = refusal(server.post(path, body), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    error = refusal(server.get("/v1/models/gpt-4"), 404)
    assert error["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (COMPLETIONS, "suffix", "end"),
        (COMPLETIONS, "best_of", 3),
        (CHAT, "functions", [{"name": "f"}]),
        (CHAT, "function_call", "auto"),
        (CHAT, "modalities", ["text", "audio"]),
        (CHAT, "audio", {"voice": "alloy", "format": "wav"}),
        (CHAT, "web_search_options", {}),
        (CHAT, "store", True),
        (CHAT, "verbosity", "low"),
        (CHAT, "chat_template", "{{ 1 }}"),
        (CHAT, "bad_words", ["x"]),
        (CHAT, "prompt_logprobs", 1),
        (CHAT, "use_beam_search", True),
        (CHAT, "grammar", "root ::= 'a'"),
        (CHAT, "typical_p", 0.5),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    server: Running, path: str, field: str, value: Any
):
    body = {"messages": HELLO} if path == CHAT else {"prompt": "hello"}
    error = refusal(server.post(path, body | {field: value}))
    assert error["param"] == field
    assert field in error["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"user": "me", "metadata": {"a": "b"}, "anything": [1, 2]},
        {"store": False, "service_tier": "auto", "modalities": ["text"], "suffix": None},
        {"prompt_cache_key": "k", "safety_identifier": "s", "prediction": None},
        {"skip_special_tokens": True, "use_beam_search": False, "length_penalty": 1.0},
        {"logprobs": None, "max_tokens": None, "stop": None, "n": None, "seed": None},
        {"stream": None, "stream_options": None, "tools": None, "response_format": None},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_changes_nothing_is_tolerated(server: Running, more: dict[str, Any]):
    for path, base in ((CHAT, {"messages": HELLO}), (COMPLETIONS, {"prompt": "hello"})):
        response = server.post(path, base | {"max_tokens": 2} | more)
        assert response.status_code == 200, response.text


def test_unknown_paths_and_methods(server: Running):
    for path in ("/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/chat", "/x%0ay", "/v1/"):
        for method in ("GET", "POST"):
            error = refusal(httpx.request(method, server.url + path), 404)
            assert error["code"] == "unknown_url"
            assert "\n" not in error["message"]
    error = refusal(server.get(COMPLETIONS), 405)
    assert error["code"] == "method_not_supported"
    refusal(httpx.delete(server.url + "/v1/models"), 405)


def test_only_json_is_read(server: Running):
    data = json.dumps({"prompt": "a"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {"content-type": kind}
        error = refusal(httpx.post(server.url + COMPLETIONS, content=data, headers=headers), 415)
        assert error["code"] == "unsupported_media_type"
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    error = refusal(httpx.post(server.url + COMPLETIONS, content=data, headers=headers), 415)
    assert "gzip" in error["message"]


def test_no_site_may_read_with_somebody_s_credentials(server: Running):
    headers = {"origin": "https://example.com", "access-control-request-method": "POST"}
    response = httpx.options(server.url + COMPLETIONS, headers=headers)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("allowed_token_ids", {"allowed_token_ids": [1], "guided_regex": "a+"}),
        ("cache_salt", {"cache_salt": "x", "state_id": "s"}),
    ],
)
def test_what_excludes_each_other(server: Running, field: str, more: dict[str, Any]):
    error = refusal(server.post(COMPLETIONS, {"prompt": "hello"} | more))
    assert error["param"] == field
    assert "exclude" in error["message"]
