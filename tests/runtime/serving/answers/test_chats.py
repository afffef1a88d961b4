"""Chats as templates of different kinds write them."""

from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.answers.chats import ChatInput, Chats
from sala_compile.runtime.serving.structure.structures import Structures
from tests.support.chat_templates import (
    FIRST_SYSTEM,
    NO_SYSTEM,
    PLAIN,
    TEMPLATES,
    TEXT_ARGUMENTS,
)
from tests.support.chats import END, SYSTEM, TOKENIZER, USER, WEATHER, chats, ids, text
from tests.support.tokenizers import token_id


def test_messages_are_written_by_the_template(structures: Structures):
    found = text(structures, PLAIN, SYSTEM, USER, {"role": "assistant", "content": "A"}, USER)
    turns = "<|im_start|>{}\n{}<|im_end|>\n"
    expected = "".join(
        turns.format(*turn)
        for turn in [("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "U")]
    )
    assert found == expected + "<|im_start|>assistant\n"
    assert text(structures, PLAIN, USER, add_generation_prompt=False).endswith("U<|im_end|>\n")


def test_the_prompt_has_the_tokens_of_the_text(structures: Structures):
    prepared = chats(structures, PLAIN).prepare(ChatInput([USER]))
    assert prepared.prompt.dtype == np.int32
    assert prepared.prompt.tolist() == ids(prepared.text)
    assert prepared.prompt[0] == token_id(TOKENIZER.core, "<|im_start|>")


def test_contents_may_be_parts(structures: Structures):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": " two"}]
    for role in ("system", "user", "assistant", "tool"):
        message = {"role": role, "content": parts}
        plain = {"role": role, "content": "one two"}
        assert text(structures, PLAIN, message, USER) == text(structures, PLAIN, plain, USER)


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hello", "messages"),
        ([3], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "function", "content": "x"}], "messages[0].role"),
        ([USER, {"role": "user"}], "messages[1].content"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages[0].content[0].type",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "assistant", "tool_calls": [3]}], "messages[0].tool_calls[0]"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {}}]}],
            "messages[0].tool_calls[0].function.name",
        ),
        ([{"role": "assistant", "function_call": {"name": "x"}}], "messages[0].function_call"),
    ],
)
def test_what_is_no_message_is_refused_by_name(structures: Structures, messages: Any, where: str):
    with pytest.raises(RequestError) as found:
        chats(structures, PLAIN).prepare(ChatInput(messages))
    assert found.value.where == where


def test_developers_are_systems(structures: Structures):
    developer = {"role": "developer", "content": "S"}
    assert text(structures, PLAIN, developer, USER) == text(structures, PLAIN, SYSTEM, USER)


def test_systems_come_where_the_template_writes_them(structures: Structures):
    later = [USER, SYSTEM, {"role": "developer", "content": "T"}, USER]
    assert "U<|im_end|>\n<|im_start|>system\nS" in text(structures, PLAIN, *later)
    assert text(structures, FIRST_SYSTEM, SYSTEM, USER) == "SYSTEM S\nUSER U\n"
    assert text(structures, FIRST_SYSTEM, *later) == "SYSTEM S\n\nT\nUSER U\nUSER U\n"
    assert text(structures, NO_SYSTEM, *later) == "USER S\n\nT\n\nU\nUSER U\n"
    assert text(structures, NO_SYSTEM, SYSTEM) == "USER S\n"


@pytest.mark.parametrize("name", TEMPLATES)
def test_calls_come_back(structures: Structures, name: str):
    call = {
        "id": "call_123456",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"days": 3}'},
    }
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_123456", "content": '{"sun": true}'},
        {"role": "assistant", "content": "It is sunny.", "tool_calls": None},
        USER,
    ]
    found = text(structures, TEMPLATES[name], *messages, tools=[WEATHER])
    assert '{"sun": true}' in found
    if "hermes" in name:
        assert '<tool_call>\n{"name": "weather", "arguments": {"days": 3}}\n</tool_call>' in found
    if name == "minicpm":
        assert '<function name="weather"><param name="days">3</param></function>' in found


def test_a_template_that_joins_arguments_gets_texts(structures: Structures):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, USER]
    found = text(structures, TEXT_ARGUMENTS, *messages)
    assert '<tool_call>f{"a": 1}</tool_call>' in found


def test_an_answer_continues_the_last_message(structures: Structures):
    parts = [{"type": "text", "text": "The sky "}, {"type": "text", "text": "is \n"}]
    message = {"role": "assistant", "content": parts}
    found = text(structures, PLAIN, USER, message, continue_final_message=True)
    assert found == text(structures, PLAIN, USER) + "The sky is \n"
    with pytest.raises(RequestError) as error:
        text(structures, PLAIN, USER, continue_final_message=True)
    assert error.value.where == "continue_final_message"


def test_a_template_without_tools_refuses_them(structures: Structures):
    with pytest.raises(RequestError, match="no tools") as found:
        text(structures, PLAIN, USER, tools=[WEATHER])
    assert found.value.where == "tools"
    assert "weather" not in text(
        structures, TEMPLATES["hermes"], USER, tools=[WEATHER], tool_choice="none"
    )


def test_a_model_without_a_template_refuses_chats(structures: Structures):
    with pytest.raises(RequestError, match="no chat template"):
        Chats(TOKENIZER, None, structures, {END}).prepare(ChatInput([USER]))


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ([1], "chat_template_kwargs"),
        ({"messages": []}, "chat_template_kwargs.messages"),
        ({"tools": []}, "chat_template_kwargs.tools"),
        ({"a b": 1}, "chat_template_kwargs.a b"),
        ({f"v{i}": i for i in range(65)}, "chat_template_kwargs"),
    ],
)
def test_variables_are_bounded(structures: Structures, variables: Any, where: str):
    with pytest.raises(RequestError) as found:
        text(structures, PLAIN, USER, template_variables=variables)
    assert found.value.where == where


def test_a_template_that_takes_too_much_ends_in_an_error(structures: Structures):
    loop = "{% for i in range(count) %}{% for j in range(count) %}x{% endfor %}{% endfor %}"
    with pytest.raises(RequestError, match="takes too much"):
        text(structures, loop, USER, template_variables={"count": 10**5})
