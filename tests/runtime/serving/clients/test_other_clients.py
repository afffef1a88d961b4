"""LangChain's and litellm's clients."""

from typing import Any

import pytest

from tests.runtime.serving.clients.conftest import KEY
from tests.support.http_server import Running

TEXT = "The pass key of finch is 8882. Answer: The pass key of finch is"


def test_langchain_completes_and_streams(served: Running):
    langchain = pytest.importorskip("langchain_openai")
    model: Any = langchain.OpenAI(
        model="needle", base_url=f"{served.url}/v1", api_key=KEY, max_tokens=8, temperature=0
    )
    assert model.invoke(TEXT) == " 8882."
    assert "".join(model.stream(TEXT)) == " 8882."
    assert model.batch([TEXT, TEXT]) == [" 8882.", " 8882."]


def test_langchain_chats(served: Running):
    langchain = pytest.importorskip("langchain_openai")
    model: Any = langchain.ChatOpenAI(
        model="needle", base_url=f"{served.url}/v1", api_key=KEY, max_tokens=8, temperature=0
    )
    messages = [("system", "Answer."), ("human", TEXT)]
    whole = model.invoke(messages)
    assert whole.response_metadata["finish_reason"] in ("stop", "length")
    assert whole.usage_metadata["input_tokens"] > 10
    parts = list(model.stream(messages, stream_usage=True))
    assert "".join(part.content for part in parts) == whole.content
    assert any(part.usage_metadata for part in parts)


def test_litellm_chats_and_completes(served: Running):
    litellm: Any = pytest.importorskip("litellm")
    where: dict[str, Any] = {"api_base": f"{served.url}/v1", "api_key": KEY}
    messages = [{"role": "user", "content": TEXT}]
    whole = litellm.completion(
        model="openai/needle", messages=messages, max_tokens=8, temperature=0, **where
    )
    content = whole.choices[0].message.content
    parts = litellm.completion(
        model="openai/needle", messages=messages, max_tokens=8, temperature=0, stream=True, **where
    )
    assert "".join(part.choices[0].delta.content or "" for part in parts) == (content or "")
    found = litellm.text_completion(
        model="text-completion-openai/needle", prompt=TEXT, max_tokens=8, temperature=0, **where
    )
    assert found.choices[0].text == " 8882."
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(
            model="openai/needle",
            messages=[{"role": "user", "content": "finch " * 9000}],
            max_tokens=8,
            **where,
        )
