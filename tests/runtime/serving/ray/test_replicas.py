"""Two replicas behind an ingress answer as one server does, to the bit, whatever happens."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.support.http_server import Running, until
from tests.support.ray_cluster import Cluster

LONG = 1500
STREAMED = 500
WAIT = 180.0
"""Seconds for what takes a few on a machine that does nothing else."""
TEXT = "the quick brown fox jumps over a lazy dog and runs. "


def _completion(client: openai.OpenAI, prompt: str, **options: Any) -> Any:
    chosen = {"max_tokens": 24, "temperature": 0, "logprobs": 3} | options
    extra = {"ignore_eos": True} | chosen.pop("extra_body", {})
    return client.completions.create(model="talk", prompt=prompt, extra_body=extra, **chosen)


def _known(answer: Any) -> tuple[Any, ...]:
    (choice,) = answer.choices
    probabilities = choice.logprobs and (choice.logprobs.token_logprobs, choice.logprobs.tokens)
    return choice.text, choice.finish_reason, probabilities


def _cached(answer: Any) -> int:
    return answer.usage.prompt_tokens_details.cached_tokens


@pytest.fixture
def client(running: Cluster) -> openai.OpenAI:
    return running.client()


@pytest.fixture
def expected(single: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{single.url}/v1", api_key="none")


def test_answers_are_those_of_one_server_to_the_bit(client: Any, expected: Any):
    prompts = [f"{TEXT[n:]} number {'abcdefgh'[n]}" for n in range(8)]

    def ask(one: Any, number: int) -> tuple[Any, ...]:
        prompt, kind = prompts[number], number % 4
        if kind == 1:
            return _known(_completion(one, prompt, temperature=1.0, seed=number))
        if kind == 2:
            return _known(_completion(one, prompt, extra_body={"guided_regex": "[a-h]{9}"}))
        return _known(_completion(one, prompt))

    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(lambda n: ask(client, n), range(8))]
    assert found == [ask(expected, n) for n in range(8)]


def test_streams_and_several_choices_are_those_of_one_server(client: Any, expected: Any):
    def pieces(one: Any) -> list[list[str]]:
        found: list[list[str]] = [[], [], []]
        messages = [{"role": "user", "content": "tell me"}]
        options = {"temperature": 1.0, "seed": 3, "n": 3, "max_tokens": 64}
        stream = one.chat.completions.create(
            model="talk", messages=messages, stream=True, **options
        )
        for chunk in stream:
            for choice in chunk.choices:
                found[choice.index].append(choice.delta.content or "")
        return found

    found = pieces(client)
    assert ["".join(each) for each in found] == ["".join(each) for each in pieces(expected)]
    assert max(len(each) for each in found) > 1, "they come in pieces"


def test_errors_are_those_of_one_server(running: Cluster, single: Running):
    bodies = [
        {"model": "other", "prompt": "a"},
        {"model": "talk", "prompt": "x" * 5000},
        {"model": "talk", "prompt": [77]},
        {"model": "talk", "prompt": "a", "guided_regex": "("},
        {"model": "talk", "prompt": "a", "top_p": 7},
    ]
    for body in bodies:
        one, other = (
            httpx.post(f"{url}/v1/completions", json=body, timeout=60)
            for url in (running.url, single.url)
        )
        assert (one.status_code, one.json()) == (other.status_code, other.json())
        assert one.status_code >= 400
    assert httpx.get(f"{running.url}/nowhere").status_code == 404
    foreign = httpx.get(f"{running.url}/v1/models", headers={"host": "evil.example"})
    assert foreign.status_code == 403


def test_what_shares_a_beginning_lands_on_one_replica(running: Cluster, client: Any):
    before = running.counted("prompt_tokens_total")
    total: dict[str, int] = {}
    for number in range(3):
        document = f"document {'xyz'[number]}. " + TEXT * 6
        replicas: set[str] = set()
        for question in "abcd":
            answer = _completion(client, f"{document}{question}?", max_tokens=2)
            after = running.counted("prompt_tokens_total")
            (grown,) = [name for name in after if after[name] > before[name]]
            replicas.add(grown)
            total[grown] = total.get(grown, 0) + 1
            before = after
            assert _cached(answer) >= (0 if question == "a" else 300)
        assert len(replicas) == 1, f"document {number} was read on {len(replicas)} replicas"
    assert sum(total.values()) == 12


def _conversation(client: Any, name: str, *, between: Callable[[], None]) -> list[Any]:
    """Two turns; `between` runs after the first."""
    opening = f"{name}: " + TEXT
    first = _completion(client, opening, max_tokens=30)
    between()
    second = _completion(client, f"{opening}{first.choices[0].text} and then?", max_tokens=20)
    return [first, second]


def test_a_conversation_goes_on_from_its_saved_state_when_its_replica_is_killed(
    running: Cluster, client: Any, expected: Any
):
    """And other answers do not notice; those that nobody has seen begin elsewhere."""
    wanted = _conversation(expected, "kept", between=lambda: None)
    long = _known(_completion(expected, "z" + TEXT, max_tokens=LONG, logprobs=0))
    states = {name: _states(each) for name, each in running.replicas().items()}
    before = running.counted("generation_tokens_total")
    told: dict[str, Any] = {}

    def kill() -> None:
        after = running.counted("generation_tokens_total")
        (used,) = [name for name in after if after[name] > before[name]]
        (other,) = [name for name in after if name != used]
        told["used"] = used
        # The state is at the URL when the other replica has learned of it.
        until(lambda: _states(running.ask("usage", to=other)) > states[other], WAIT)
        with ThreadPoolExecutor(6) as threads:
            lasting = [
                threads.submit(lambda: _completion(client, "z" + TEXT, max_tokens=LONG, logprobs=0))
                for _ in range(5)
            ]

            def begun() -> bool:
                """Answers are under way; on a fast machine they can be done before that shows."""
                under_way = sum(each["running"] for each in running.replicas().values())
                return under_way >= 2 or all(each.done() for each in lasting)

            until(begun, WAIT)
            running.kill(used)
            told["others"] = [each.exception() or _known(each.result()) for each in lasting]

    found = _conversation(client, "kept", between=kill)
    assert [_known(each) for each in found] == [_known(each) for each in wanted]
    assert _cached(found[1]) == _cached(wanted[1]) > len(TEXT)
    # A whole reply that began on the killed replica is one of a 503, not a wrong text.
    right = [each for each in told["others"] if each == long]
    gone = [each for each in told["others"] if isinstance(each, openai.InternalServerError)]
    assert len(right) + len(gone) == 5
    assert right, "the other replica went on"
    assert all(each.status_code == 503 for each in gone)
    until(lambda: told["used"] not in running.replicas(), WAIT)


def _states(usage: dict[str, Any]) -> int:
    return usage["prefix_cache"]["directory"]["states"]


def test_where_no_state_was_saved_the_text_is_read_anew_and_the_answer_says_so(
    running: Cluster, client: Any, expected: Any
):
    until(lambda: len(running.replicas()) == 2, WAIT)
    opening = "lost: " + TEXT
    options = {"max_tokens": 20, "extra_body": {"prefix_reuse": "none"}}
    first = _completion(client, opening, **options)
    whole = f"{opening}{first.choices[0].text} and then?"
    second = _completion(client, whole, max_tokens=20)
    assert _cached(second) == 0
    alone = _completion(expected, whole, **options)
    assert _known(second) == _known(alone)


def test_a_client_that_leaves_ends_its_answer(running: Cluster):
    body = {"model": "talk", "prompt": "leave", "max_tokens": 4000, "stream": True}
    body |= {"ignore_eos": True}
    with httpx.stream("POST", f"{running.url}/v1/completions", json=body, timeout=60) as stream:
        next(stream.iter_lines())
    until(lambda: all(not each["running"] for each in running.replicas().values()), WAIT)


def test_named_states_are_those_of_all_replicas(running: Cluster, client: Any):
    text = "a state of all. " + TEXT * 4
    made = httpx.post(f"{running.url}/v1/states", json={"id": "all", "prompt": text}, timeout=60)
    assert made.json()["tokens"] == len(text), made.text
    answers = [
        _completion(client, f"{n} and more", max_tokens=3, extra_body={"state_id": "all"})
        for n in "abcdef"
    ]
    assert all(_cached(each) > 100 for each in answers)
    listed = httpx.get(f"{running.url}/v1/states", timeout=60).json()["data"]
    assert [each["id"] for each in listed] == ["all"]
    assert httpx.delete(f"{running.url}/v1/states/all", timeout=60).json()["deleted"]
    with pytest.raises(openai.NotFoundError):
        _completion(client, "more", extra_body={"state_id": "all"})


def test_usage_and_measures_are_there(running: Cluster, client: Any):
    _completion(client, "measure me")
    url = running.url
    until(lambda: len(httpx.get(f"{url}/usage").json()["replicas"]) >= 1, WAIT)
    until(lambda: "memory" in httpx.get(f"{url}/usage").json(), WAIT)
    text = httpx.get(f"{url}/metrics").text
    assert float(text.split("\nsala_generation_tokens_total ")[1].split("\n")[0]) >= 24
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{url}/ready").json() == {"ready": True}


def test_scaling_from_one_to_two_and_back_breaks_no_stream(running: Cluster, expected: Any):
    """The last test of the file: it leaves one replica."""
    running.deploy(replicas=1)
    wanted = {
        n: _known(_completion(expected, f"{n}{TEXT}", max_tokens=STREAMED, logprobs=0))
        for n in "abcdef"
    }
    client, stop = running.client(), threading.Event()
    found: list[tuple[str, str, str | None]] = []

    def stream(name: str) -> None:
        while not stop.is_set():
            text, reason = "", None
            answer = _completion(
                client, f"{name}{TEXT}", max_tokens=STREAMED, logprobs=None, stream=True
            )
            for chunk in answer:
                text += chunk.choices[0].text
                reason = chunk.choices[0].finish_reason or reason
            found.append((name, text, reason))

    with ThreadPoolExecutor(6) as threads:
        streams = [threads.submit(stream, name) for name in "abcdef"]
        until(lambda: len(found) >= 3, WAIT)
        running.deploy(replicas=2)
        before = len(found)
        until(lambda: len(found) >= before + 6, WAIT)
        running.deploy(replicas=1)
        before = len(found)
        until(lambda: len(found) >= before + 6, WAIT)
        stop.set()
        for each in streams:
            each.result()
    assert all((text, reason) == wanted[name][:2] for name, text, reason in found)
    assert len(found) > 15
