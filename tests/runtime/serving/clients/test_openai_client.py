"""OpenAI's own client: sync and async, whole and streamed, errors, tools, schemas."""

import asyncio
from typing import Any

import pytest

from tests.runtime.serving.clients.conftest import KEY
from tests.support.http_server import Running

openai = pytest.importorskip("openai")
FACT = "The pass key of finch is 8882."
TEXT = f"{FACT} Answer: The pass key of finch is"
MESSAGES: list[Any] = [
    {"role": "developer", "content": "Answer."},
    {"role": "user", "content": [{"type": "text", "text": FACT}, {"type": "text", "text": "Who?"}]},
]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a name up.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 8}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def client(served: Running) -> Any:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0)


def test_models(client: Any):
    (model,) = client.models.list().data
    assert model.id == "needle"
    assert client.models.retrieve("needle").id == "needle"


def test_a_completion_is_the_needle(client: Any):
    found = client.completions.create(model="needle", prompt=TEXT, max_tokens=8)
    assert found.choices[0].text == " 8882."
    assert found.choices[0].finish_reason == "stop"
    assert found.usage.prompt_tokens_details.cached_tokens >= 0


def test_a_streamed_completion(client: Any):
    stream = client.completions.create(
        model="needle",
        prompt=TEXT,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == " 8882."
    assert chunks[-1].usage.completion_tokens > 0


def test_a_chat(client: Any):
    found = client.chat.completions.create(
        model="needle", messages=MESSAGES, max_completion_tokens=12, logprobs=True, top_logprobs=3
    )
    (choice,) = found.choices
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    entries = choice.logprobs.content
    assert "".join(entry.token for entry in entries) == choice.message.content
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == choice.message.content
    assert all(len(entry.top_logprobs) == 3 for entry in entries)
    assert all(entry.logprob <= 0 for entry in entries)


def test_a_streamed_chat_says_the_same(client: Any):
    options: dict[str, Any] = {
        "model": "needle",
        "messages": MESSAGES,
        "max_tokens": 12,
        "n": 2,
        "seed": 7,
        "temperature": 0.8,
    }
    whole = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(stream=True, **options))
    for choice in whole.choices:
        own = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == choice.index]
        assert own[0].delta.role == "assistant"
        assert all(each.delta.role is None for each in own[1:])
        assert "".join(each.delta.content or "" for each in own) == choice.message.content
        assert [each.finish_reason for each in own if each.finish_reason] == [choice.finish_reason]
        assert own[-1].finish_reason
    assert all(chunk.usage is None for chunk in chunks)


def test_the_streaming_helper_puts_the_answer_together(client: Any):
    options: dict[str, Any] = {"model": "needle", "prompt": FACT, "max_tokens": 1}
    word = client.completions.create(**options).choices[0].text.strip()
    chat: dict[str, Any] = {"model": "needle", "messages": MESSAGES, "stop": [word, "e", "8", " "]}
    with client.chat.completions.stream(**chat) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**chat)
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


def test_many_at_once_say_what_each_says_alone(served: Running, client: Any):
    texts = [
        f"The pass key of finch is {1000 + i}. Answer: The pass key of finch is" for i in range(12)
    ]
    alone = [
        client.completions.create(model="needle", prompt=text, max_tokens=6).choices[0].text
        for text in texts
    ]

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY) as many:

            async def one(text: str) -> str:
                stream = await many.completions.create(
                    model="needle", prompt=text, max_tokens=6, stream=True
                )
                return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*map(one, texts))

    assert asyncio.run(together()) == alone


def test_errors_are_the_client_s_classes(served: Running, client: Any):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model="needle", prompt=[5] * 5000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="needle", prompt="a", temperature=-1, stream=True)
    assert wrong.value.param == "temperature"
    stranger = openai.OpenAI(base_url=f"{served.url}/v1", api_key="another", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="needle", input="a")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="needle", input="a")
