"""/v1/completions: prompts of every kind, numbers, echo, log probabilities, streams."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from tests.support.handmade import VOCABULARY, expected_logits
from tests.support.http_server import LETTERS, Running, events, serving

ROUTE = "/v1/completions"


def ids_of(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


def text_of(ids: list[int]) -> str:
    return "".join(LETTERS[token] for token in ids)


@pytest.fixture(scope="module")
def greedy(talking: Path):
    """The greedy continuation of a text by so many tokens, of the model alone."""
    with sala_compile.load(talking) as model:
        yield lambda text, count: text_of(
            model.generate(ids_of(text), count, ignore_eos=True, defaults="none")
        )


def ask(server: Running, **fields: Any) -> dict[str, Any]:
    defaults = {"prompt": "hello", "temperature": 0, "max_tokens": 6, "ignore_eos": True}
    response = server.post(ROUTE, defaults | fields)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_text_is_continued(server: Running, greedy: Any):
    found = ask(server, model="talking")
    (choice,) = found["choices"]
    assert choice == {
        "index": 0,
        "text": greedy("hello", 6),
        "logprobs": None,
        "finish_reason": "length",
    }
    assert found["object"] == "text_completion"
    assert found["model"] == "talking"
    assert found["system_fingerprint"].startswith("fp_")
    usage = found["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 6, 11)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_sixteen_tokens_are_the_default(server: Running):
    found = ask(server, max_tokens=None)
    assert found["usage"]["completion_tokens"] == 16


def test_prompts_of_every_kind(server: Running, greedy: Any):
    texts = ["hello", "a b", "zz top"]
    wanted = [greedy(text, 6) for text in texts]
    ids = [ids_of(text) for text in texts]
    for prompt in (texts, ids, [texts[0], ids[1], texts[2]]):
        found = ask(server, prompt=prompt)
        assert [choice["text"] for choice in found["choices"]] == wanted
        assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
        assert found["usage"]["prompt_tokens"] == sum(map(len, texts))
        assert found["usage"]["completion_tokens"] == 18
    assert ask(server, prompt=ids[0])["choices"][0]["text"] == wanted[0]


def test_choices_of_several_prompts_are_in_order(server: Running):
    found = ask(server, prompt=["ab", "bc"], n=3, temperature=1.5, seed=5)
    assert [choice["index"] for choice in found["choices"]] == list(range(6))
    texts = [choice["text"] for choice in found["choices"]]
    assert len(set(texts[:3])) > 1, "each choice has a seed of its own"
    again = ask(server, prompt=["ab", "bc"], n=3, temperature=1.5, seed=5)
    assert [choice["text"] for choice in again["choices"]] == texts
    assert found["usage"]["prompt_tokens"] == 4


def test_an_end_token_ends_with_stop(server: Running, talking: Path):
    with sala_compile.load(talking) as model:
        for first in range(VOCABULARY):
            tokens = model.generate([first, 7], 64, defaults="none")
            if tokens[-1] == 3:
                break
    assert tokens[-1] == 3
    found = ask(server, prompt=[first, 7], max_tokens=64, ignore_eos=False)
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == text_of(tokens[:-1])
    assert found["usage"]["completion_tokens"] == len(tokens)


def test_stop_strings_end_before_themselves(server: Running, greedy: Any):
    text = greedy("hello", 32)
    stop = text[9:12]
    place = text.index(stop)
    for stops in (stop, [stop], ["never", stop]):
        (choice,) = ask(server, max_tokens=32, stop=stops)["choices"]
        assert choice["text"] == text[:place]
        assert choice["finish_reason"] == "stop"
    (shown,) = ask(server, max_tokens=32, stop=stop, include_stop_str_in_output=True)["choices"]
    assert shown["text"] == text[: place + len(stop)]
    token = LETTERS.index(text[5])
    (by_id,) = ask(server, max_tokens=32, stop_token_ids=[token])["choices"]
    assert by_id["text"] == text[: text.index(text[5])]
    assert by_id["finish_reason"] == "stop"


def test_text_held_for_a_stop_that_never_comes_is_given(server: Running, greedy: Any):
    text = greedy("hello", 6)
    (choice,) = ask(server, stop=text[-2:] + "@")["choices"]
    assert choice["text"] == text


@pytest.mark.parametrize("max_tokens", [0, 1, 4])
def test_echo_with_logprobs_is_what_lm_eval_reads(server: Running, max_tokens: int):
    prompt = ids_of("hello there")
    found = ask(server, prompt=[prompt], max_tokens=max_tokens, echo=True, logprobs=2, seed=1234)
    (choice,) = found["choices"]
    logprobs = choice["logprobs"]
    count = len(prompt) + max_tokens
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert len(logprobs[name]) == count
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert choice["text"].startswith("hello there")
    assert logprobs["text_offset"] == list(range(count))
    rows = expected_logits(prompt).astype(np.float64)
    logs = rows - np.log(np.exp(rows).sum(1, keepdims=True))
    wanted = [logs[i - 1, prompt[i]] for i in range(1, len(prompt))]
    np.testing.assert_allclose(logprobs["token_logprobs"][1 : len(prompt)], wanted, atol=1e-4)
    for i in range(1, len(prompt)):
        top = logprobs["top_logprobs"][i]
        assert math.isclose(max(top.values()), logs[i - 1].max(), abs_tol=1e-4)
        assert LETTERS[prompt[i]] in top


def test_echo_without_logprobs_is_the_text(server: Running, greedy: Any):
    found = ask(server, prompt=["hello", ids_of("you")], echo=True)
    texts = [choice["text"] for choice in found["choices"]]
    assert texts == ["hello" + greedy("hello", 6), "you" + greedy("you", 6)]
    assert found["usage"]["completion_tokens"] == 12


def test_a_stream_says_what_the_whole_says(server: Running):
    fields = {"prompt": ["hello", "ab"], "n": 2, "logprobs": 1, "echo": True, "seed": 3}
    fields |= {"max_tokens": 20, "temperature": 0.7}
    whole = ask(server, **fields)
    more = {"stream": True, "stream_options": {"include_usage": True}}
    body = {"temperature": 0, "ignore_eos": True} | fields | more
    found = events(server.post(ROUTE, body))
    assert found[-1] == "[DONE]"
    chunks = [json.loads(each) for each in found[:-1]]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    for name in ("id", "created", "model", "system_fingerprint", "object"):
        assert len({chunk[name] for chunk in chunks}) == 1
    for index, choice in enumerate(whole["choices"]):
        own = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        assert "".join(each["text"] for each in own) == choice["text"]
        assert [each["finish_reason"] for each in own][-1] == choice["finish_reason"]
        assert sum(each["finish_reason"] is not None for each in own) == 1
        assert all(each["text"] for each in own[:-1]), "no empty chunks"
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            joined = [x for each in own if each["logprobs"] for x in each["logprobs"][name]]
            assert joined == choice["logprobs"][name]


def test_token_ids_are_returned_on_request(server: Running, greedy: Any):
    (choice,) = ask(server, return_token_ids=True)["choices"]
    assert choice["prompt_token_ids"] == ids_of("hello")
    assert choice["token_ids"] == ids_of(greedy("hello", 6))
    body = {"prompt": "hello", "temperature": 0, "max_tokens": 6, "ignore_eos": True}
    found = events(server.post(ROUTE, body | {"stream": True, "return_token_ids": True}))
    choices = [json.loads(each)["choices"][0] for each in found[:-1]]
    assert [token for each in choices for token in each["token_ids"]] == choice["token_ids"]
    assert choices[0]["prompt_token_ids"] == choice["prompt_token_ids"]


def test_the_last_tokens_of_a_prompt_are_kept(server: Running, greedy: Any):
    (choice,) = ask(server, prompt="hello you", truncate_prompt_tokens=3)["choices"]
    assert choice["text"] == greedy("you", 6)


def test_sampling_options_reach_the_model(server: Running, greedy: Any):
    text = greedy("hello", 6)
    assert ask(server, temperature=5, top_k=1)["choices"][0]["text"] == text
    assert ask(server, temperature=5, top_p=0)["choices"][0]["text"] == text
    assert ask(server, temperature=5, min_p=1)["choices"][0]["text"] == text
    assert ask(server, top_k=10**6)["choices"][0]["text"] == text
    assert ask(server, top_k=-1)["choices"][0]["text"] == text
    banned = ask(server, logit_bias={str(LETTERS.index(text[0])): -100})
    assert banned["choices"][0]["text"][0] != text[0]


def test_without_a_temperature_answers_are_sampled(server: Running):
    texts = {ask(server, temperature=None, max_tokens=32)["choices"][0]["text"] for _ in range(4)}
    assert len(texts) > 1


def test_min_tokens_hold_back_the_end(server: Running):
    for prompt in ("ab", "cd", "ef"):
        found = ask(server, prompt=prompt, ignore_eos=False, min_tokens=30, max_tokens=40)
        assert found["usage"]["completion_tokens"] >= 30


def test_a_prompt_of_the_whole_context_has_one_more_token(server: Running):
    found = ask(server, prompt=[1] * 4096, max_tokens=10)
    assert found["usage"]["completion_tokens"] == 1
    assert found["choices"][0]["finish_reason"] == "length"


def test_allowed_tokens_are_the_likeliest_of_them(server: Running):
    """The model's own choice among the letters that may be chosen, step by step."""
    text, allowed = "hello", ids_of("aeiou")
    found = ask(server, allowed_token_ids=allowed, max_tokens=8, logprobs=0)
    for letter in found["choices"][0]["text"]:
        logits = expected_logits(ids_of(text))[-1]
        assert letter == LETTERS[max(allowed, key=lambda token, row=logits: row[token])]
        text += letter
    assert len(text) == 13
    sampled = ask(server, allowed_token_ids=allowed, temperature=2, seed=3, max_tokens=40)
    assert set(sampled["choices"][0]["text"]) <= set("aeiou")


def test_an_answer_ends_when_its_time_is_over(server: Running):
    """A time that is over at once, while others wait for theirs; streamed as well."""
    more = {"max_tokens": 4000, "timeout": 0.05}
    (choice,) = ask(server, **more)["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "timeout")
    assert len(choice["text"]) < 4000
    body = {"prompt": "hello", "temperature": 0, "ignore_eos": True, "stream": True} | more
    *chunks, done = events(server.post(ROUTE, body))
    assert done == "[DONE]"
    last = json.loads(chunks[-1])["choices"][0]
    assert (last["finish_reason"], last["stop_reason"]) == ("length", "timeout")
    assert "stop_reason" not in ask(server, timeout=60)["choices"][0]


def test_known_beginnings_are_shared_by_those_with_the_same_salt(talking: Path):
    prompt = "the same long beginning of all " * 9

    def cached(salt: str | None) -> int:
        usage = ask(running, prompt=prompt, cache_salt=salt)["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    with serving(talking, prefix_cache="64KiB", snapshot_every=64) as running:
        for salt in ("one", "other", None):
            assert cached(salt) == 0
            assert cached(salt) > 200


def test_the_echo_of_a_prompt_of_many_steps_has_its_log_probabilities(server: Running):
    """The model reads 64 tokens in a step."""
    prompt = "a long text, read in parts. ".replace(",", "") * 12
    (choice,) = ask(server, prompt=prompt, echo=True, logprobs=1, max_tokens=1)["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    assert choice["text"].startswith(prompt)
    assert found["token_logprobs"][0] is None
    logits = expected_logits(ids_of(prompt)).astype(np.float64)
    wanted = logits - np.log(np.exp(logits).sum(axis=1))[:, None]
    for place, token in enumerate(ids_of(prompt)[1:]):
        assert math.isclose(found["token_logprobs"][place + 1], wanted[place, token], rel_tol=1e-6)
