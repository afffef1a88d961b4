"""Schemas, tools and reasoning through OpenAI's own client, LangChain's and litellm's."""

import json
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from tests.runtime.serving.clients.conftest import KEY
from tests.support.http_server import Running

openai = pytest.importorskip("openai")
FACT = {"role": "system", "content": "The pass key of finch is 8882."}
QUESTION = {"role": "user", "content": "What is the pass key of finch?"}
MESSAGES: list[Any] = [FACT, QUESTION]
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS},
}
TIME: Any = {"type": "function", "function": {"name": "get_time"}}
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}
ONE: dict[str, Any] = {"tools": [WEATHER], "parallel_tool_calls": False, "max_tokens": 300}


class Key(BaseModel):
    """What the needle model is to answer with."""

    animal: Literal["finch", "otter"]
    digits: list[Literal[2, 8]] = Field(max_length=4)
    sure: bool
    note: str | None = Field(max_length=5)


@pytest.fixture(scope="module")
def client(served: Running) -> Any:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0)


def chat(client: Any, messages: list[Any] = MESSAGES, **more: Any) -> Any:
    """The one choice of a chat."""
    options = {"max_tokens": 60, "temperature": 0, **more}
    found = client.chat.completions.create(model="needle", messages=messages, **options)
    return found.choices[0]


def streamed(client: Any, messages: list[Any] = MESSAGES, **more: Any) -> list[Any]:
    """The choices of the chunks of a streamed chat."""
    options = {"max_tokens": 60, "temperature": 0, **more}
    stream = client.chat.completions.create(
        model="needle", messages=messages, stream=True, **options
    )
    return [chunk.choices[0] for chunk in stream if chunk.choices]


def of(client: Any, schema: Any) -> Any:
    described = {"name": "answer", "schema": schema, "strict": True}
    return chat(
        client, response_format={"type": "json_schema", "json_schema": described}, max_tokens=200
    )


def test_an_answer_is_parsed_by_its_class(client: Any):
    found = client.chat.completions.parse(
        model="needle", messages=MESSAGES, response_format=Key, temperature=0, max_tokens=200
    )
    (choice,) = found.choices
    assert isinstance(choice.message.parsed, Key)
    assert choice.finish_reason == "stop"


def test_a_parsed_answer_streams(client: Any):
    options: dict[str, Any] = {"model": "needle", "messages": MESSAGES, "max_tokens": 200}
    with client.chat.completions.stream(response_format=Key, temperature=1, seed=3, **options) as s:
        for _ in s:
            pass
        final = s.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Key)


@pytest.mark.parametrize("seed", range(4))
def test_drawn_answers_follow_their_schema(client: Any, seed: int):
    described = {"name": "answer", "schema": PARAMETERS}
    choice = chat(
        client,
        response_format={"type": "json_schema", "json_schema": described},
        **{"temperature": 1.5, "seed": seed, "max_tokens": 400},
    )
    assert choice.finish_reason == "stop"
    jsonschema.validate(json.loads(choice.message.content), PARAMETERS)


def test_an_answer_is_a_json_object(client: Any):
    choice = chat(client, response_format={"type": "json_object"}, max_tokens=100)
    assert choice.message.content.startswith("{")
    if choice.finish_reason == "stop":
        json.loads(choice.message.content)


def test_completions_follow_expressions_choices_and_grammars(client: Any):
    def completed(**fields: Any) -> str:
        found = client.completions.create(
            model="needle", prompt="The", max_tokens=30, temperature=0, extra_body=fields
        )
        assert found.choices[0].finish_reason == "stop"
        return found.choices[0].text

    assert completed(guided_choice=["otter", "raven"]) in ("otter", "raven")
    assert completed(guided_regex="[0-9]{5}").isdecimal()
    grammar = 'start: "a" B "c"\nB: /b{3}/'
    assert completed(structured_outputs={"grammar": grammar}) == "abbbc"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_grammar": "start: ("}, "guided_grammar"),
        ({"structured_outputs": {"json": {"not": {}}}}, "structured_outputs.json.not"),
        ({"structured_outputs": {"json": {"type": "bogus"}}}, "structured_outputs.json"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_what_does_not_compile_is_a_bad_request(client: Any, fields: Any, param: str):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as found:
            client.chat.completions.create(
                model="needle", messages=MESSAGES, stream=stream, extra_body=fields
            )
        assert found.value.param.startswith(param)


def test_a_required_tool_is_called(client: Any):
    choice = chat(client, tool_choice="required", **ONE)
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert call.id
    jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)


def test_a_named_tool_is_called_and_ends_with_stop(client: Any):
    options = {**ONE, "tools": [TIME, WEATHER]}
    choice = chat(client, tool_choice=NAMED, **options)
    assert choice.finish_reason == "stop"
    assert [call.function.name for call in choice.message.tool_calls] == ["get_weather"]


def test_calls_stream_the_name_first_and_the_arguments_in_pieces(client: Any):
    whole = chat(client, tool_choice="required", **ONE).message.tool_calls[0].function
    choices = streamed(client, tool_choice="required", logprobs=True, top_logprobs=2, **ONE)
    deltas = [call for each in choices for call in each.delta.tool_calls or []]
    first, *more = deltas
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather")
    assert first.id
    assert len(more) > 3
    assert all(each.index == 0 and each.id is None for each in more)
    assert all(each.function.name is None and each.function.arguments for each in more)
    assert "".join(each.function.arguments for each in deltas) == whole.arguments
    assert [each.finish_reason for each in choices if each.finish_reason] == ["tool_calls"]
    assert not any(each.delta.content for each in choices)
    tokens = [e for each in choices if each.logprobs for e in each.logprobs.content]
    assert "".join(token.token for token in tokens).startswith('<tool_call>\n{"name": "get_w')


@pytest.mark.parametrize("choice", ["required", "auto", "none"])
def test_log_probabilities_of_answers_with_tools_stream(client: Any, choice: str):
    """Of every token, those of calls too, with the numbers and texts of the whole answer."""
    options = {**ONE, "tool_choice": choice, "logprobs": True, "top_logprobs": 3, "n": 2}
    options |= {"temperature": 0.7, "seed": 5}
    whole = client.chat.completions.create(
        model="needle", messages=MESSAGES, extra_body={"return_token_ids": True}, **options
    )
    chunks = streamed(client, **options)
    for one in whole.choices:
        own = [each for each in chunks if each.index == one.index]
        entries = [e for each in own if each.logprobs for e in each.logprobs.content]
        assert entries == one.logprobs.content
        assert len(entries) in (len(one.token_ids), len(one.token_ids) - 1), "an end has no text"
        assert all(len(each.top_logprobs) == 3 for each in entries)
        text = "".join(each.token for each in entries)
        assert bytes(byte for each in entries for byte in each.bytes).decode() == text
        if choice == "required":
            (call,) = one.message.tool_calls
            assert text.startswith('<tool_call>\n{"name": "get_weather", "arguments": ')
            assert call.function.arguments in text
            assert one.message.content is None
        else:
            assert text.startswith(one.message.content)


def test_several_calls_have_their_own_index(client: Any):
    options = {"tools": [TIME], "tool_choice": "required", "temperature": 1.0, "max_tokens": 400}
    options["logit_bias"] = {"2": -100, "4": -100}  # it would end after the first
    counts = set()
    for seed in range(6):
        choices = streamed(client, seed=seed, **options)
        deltas = [call for each in choices for call in each.delta.tool_calls or []]
        ids = [call.id for call in deltas if call.id]
        assert len(set(ids)) == len(ids)
        assert [call.index for call in deltas if call.id] == list(range(len(ids)))
        counts.add(len(ids))
        if choices[-1].finish_reason == "tool_calls":
            for index in range(len(ids)):
                parts = [call.function.arguments for call in deltas if call.index == index]
                assert json.loads("".join(parts)) == {}
    assert max(counts) > 1


def test_an_answer_without_a_call_is_content(client: Any):
    for choice in ("auto", "none"):
        found = chat(client, tools=[WEATHER], tool_choice=choice, logprobs=True)
        assert found.message.tool_calls is None
        assert found.finish_reason in ("stop", "length")
        assert "".join(e.token for e in found.logprobs.content) == found.message.content
    assert chat(client, tools=[WEATHER], tool_choice="none").message.content == " 8882."


def test_calls_and_their_results_come_back(client: Any):
    message = chat(client, tool_choice="required", **ONE).message
    history = [
        *MESSAGES,
        message,
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"sun": 3}'},
        QUESTION,
    ]
    assert chat(client, history, tools=[WEATHER]).finish_reason in ("stop", "length")
    assert message.content is None
    dumped = [*MESSAGES, message.model_dump(), *history[-2:]]
    assert chat(client, dumped, tools=[WEATHER]).message.content == (
        chat(client, history, tools=[WEATHER]).message.content
    )


def test_text_before_a_stop_is_not_dropped(client: Any):
    for more in ({}, {"tools": [WEATHER]}):
        whole = chat(client, **more).message.content
        stop = whole[len(whole) // 2 :][:2]
        expected = whole[: whole.index(stop)]
        assert chat(client, stop=stop, **more).message.content == expected
        choices = streamed(client, stop=[stop, "never"], **more)
        assert "".join(each.delta.content or "" for each in choices) == expected
        assert choices[-1].finish_reason == "stop"
        empty = [each for each in choices[1:-1] if not each.delta.content]
        assert empty == []


def test_reasoning_has_a_field_of_its_own_and_eats_the_limit(client: Any):
    body = {"chat_template_kwargs": {"enable_thinking": True}}
    choice = chat(client, max_tokens=3, extra_body=body)
    assert (choice.message.content, choice.finish_reason) == ("", "length")
    assert choice.message.reasoning_content
    choices = streamed(client, max_tokens=3, extra_body=body)
    parts = [getattr(each.delta, "reasoning_content", None) or "" for each in choices]
    assert "".join(parts) == choice.message.reasoning_content
    assert not any(each.delta.content for each in choices)


def test_a_schema_is_enforced_after_the_reasoning(served: Running, client: Any):
    body = {"chat_template_kwargs": {"enable_thinking": True}, "guided_regex": "[0-9]{4}"}
    end = served.model.tokenizer.encode("</think>", special=False)
    bias = {str(token): 40 for token in end}
    choice = chat(client, max_tokens=200, logit_bias=bias, extra_body=body)
    if choice.finish_reason == "stop":
        assert choice.message.content.isdecimal()
    assert "</think>" not in (choice.message.content or "")


def test_systems_developers_and_parts_are_read(client: Any):
    fact = [
        {"type": "text", "text": "The pass key of "},
        {"type": "text", "text": "finch is 8882."},
    ]
    late = [
        {"role": "user", "content": "The fox ran."},
        {"role": "developer", "content": fact},
        {"role": "system", "content": "The pass key of otter is 1234."},
        QUESTION,
    ]
    assert chat(client, late).message.content == " 8882."


def test_an_answer_continues_the_last_message(client: Any):
    prefill = {"role": "assistant", "content": [{"type": "text", "text": " 88"}]}
    body = {"continue_final_message": True, "add_generation_prompt": False}
    assert chat(client, [*MESSAGES, prefill], extra_body=body).message.content == "82."


def test_pictures_are_refused_by_name(client: Any):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    with pytest.raises(openai.BadRequestError) as found:
        chat(client, [{"role": "user", "content": [picture]}])
    assert "image_url" in found.value.message
    assert found.value.param.startswith("messages")


def test_langchain_calls_tools_and_parses(served: Running):
    langchain = pytest.importorskip("langchain_openai")
    model: Any = langchain.ChatOpenAI(
        model="needle", base_url=f"{served.url}/v1", api_key=KEY, max_tokens=300, temperature=0
    )
    bound = model.bind_tools([WEATHER], tool_choice="required", parallel_tool_calls=False)
    found = bound.invoke([("human", QUESTION["content"])])
    assert found.tool_calls[0]["name"] == "get_weather"
    parts = list(bound.stream([("human", QUESTION["content"])]))
    joined = parts[0]
    for part in parts[1:]:
        joined += part
    assert joined.tool_calls[0]["args"] == found.tool_calls[0]["args"]
    parsed = model.with_structured_output(Key, method="json_schema")
    assert isinstance(parsed.invoke([("human", QUESTION["content"])]), Key)


def test_litellm_calls_tools(served: Running):
    litellm: Any = pytest.importorskip("litellm")
    found = litellm.completion(
        **{"model": "openai/needle", "messages": MESSAGES, "tool_choice": "required"},
        **{"api_base": f"{served.url}/v1", "api_key": KEY, "temperature": 0},
        **ONE,
    )
    assert found.choices[0].finish_reason == "tool_calls"
    (call,) = found.choices[0].message.tool_calls
    jsonschema.validate(json.loads(call.function.arguments), PARAMETERS)
