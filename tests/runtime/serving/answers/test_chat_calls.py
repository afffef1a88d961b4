"""Calls, structures and reasoning in answers to chats: what comes back, what is permitted."""

import json
from typing import Any

import pytest

from examples.needle.evaluate import CHECKPOINT
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta, FinishReason
from sala_compile.runtime.serving.answers.chats import ChatInput, Chats
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.work.event import End
from sala_compile.runtime.text.templates.chat import ChatTemplate
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.chat_templates import (
    OPENS_REASONING,
    TEMPLATES,
)
from tests.support.chats import (
    DIGIT,
    NAMED,
    STRICT,
    TOKENIZER,
    USER,
    WEATHER,
    answer,
    chats,
    follow,
    ids,
)
from tests.support.tokenizers import token_id

HERMES_CALL = '<tool_call>\n{"name": "weather", "arguments": {"days": 3}}\n</tool_call>'


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        (None, FinishReason.TOOL_CALLS),
        ("auto", FinishReason.TOOL_CALLS),
        ("required", FinishReason.TOOL_CALLS),
        (NAMED, FinishReason.STOP),
    ],
)
def test_calls_end_as_those_of_openai(structures: Structures, choice: Any, finish: FinishReason):
    chat = ChatInput([USER], tools=[WEATHER], tool_choice=choice)
    prepared = chats(structures, TEMPLATES["hermes"]).prepare(chat)
    delta = answer(prepared, HERMES_CALL)
    assert (delta.content, delta.finish) == ("", finish)
    assert delta.calls[0].name == "weather"
    assert json.loads("".join(call.arguments for call in delta.calls)) == {"days": 3}
    assert answer(prepared, HERMES_CALL[:-20], end=End.LENGTH).finish is FinishReason.LENGTH
    assert answer(prepared, "plain").finish is FinishReason.STOP


def test_calls_are_required_by_a_grammar(structures: Structures):
    made = chats(structures, TEMPLATES["hermes"])
    required = made.prepare(ChatInput([USER], tools=[WEATHER], tool_choice="required"))
    assert follow(required, "No.") == ""
    assert follow(required, HERMES_CALL) == HERMES_CALL + "END"
    assert follow(required, HERMES_CALL.replace("3", "33")) == HERMES_CALL.partition("}")[0]
    one = ChatInput([USER], tools=[WEATHER], tool_choice=NAMED)
    assert follow(made.prepare(one), HERMES_CALL + "\n") == HERMES_CALL + "END"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_schema_that_does_not_compile_is_any_object_unless_strict(
    structures: Structures, name: str
):
    properties = {
        "a": {"type": "integer", "minimum": 1, "maximum": 9},
        "b": {"type": "bogus"},
        "c": {"type": "string", "format": "no-such-format"},
        "d": 3,
    }
    schema = {"type": "object", "properties": properties, "required": ["a", "zz"]}
    weather = {"name": "weather", "parameters": schema}
    made = chats(structures, TEMPLATES[name])
    tool = {"type": "function", "function": weather}
    prepared = made.prepare(ChatInput([USER], tools=[tool], tool_choice="required"))
    assert prepared.constraint() is not None
    if name == "hermes":
        head = HERMES_CALL.partition("{}")[0].partition('"days"')[0]
        assert follow(prepared, head + '"a": x') == head + '"a": '
    strict = {"type": "function", "function": {**weather, "strict": True}}
    for choice in ("required", "auto"):
        with pytest.raises(RequestError) as found:
            made.prepare(ChatInput([USER], tools=[tool | {}, strict | {}][1:], tool_choice=choice))
        assert str(found.value.where).startswith("tools[0].function.parameters")


def test_strict_arguments_follow_their_schema_once_a_call_begins(structures: Structures):
    made = chats(structures, TEMPLATES["hermes"])
    free = made.prepare(ChatInput([USER], tools=[WEATHER]))
    assert free.constraint() is None
    strict = made.prepare(ChatInput([USER], tools=[STRICT]))
    assert follow(strict, "Let me see: " + HERMES_CALL + " Done.") == (
        "Let me see: " + HERMES_CALL + " Done.END"
    )
    assert follow(strict, "x<tool_call>no") == "x<tool_call>"
    wrong = HERMES_CALL.replace("days", "week")
    assert follow(strict, wrong) == wrong[: wrong.index("week")]
    alone = made.prepare(ChatInput([USER], tools=[STRICT], parallel_tool_calls=False))
    assert follow(alone, "x" + HERMES_CALL + "x") == "x" + HERMES_CALL + "END"


@pytest.mark.parametrize(
    "source", [TEMPLATES["hermes with reasoning"], OPENS_REASONING + "{# <tool_call> tools #}"]
)
def test_the_reasoning_may_name_the_mark_of_calls(structures: Structures, source: str):
    prepared = chats(structures, source).prepare(ChatInput([USER], tools=[STRICT]))
    opening = "" if prepared.reasoning.inside else "<think>"
    words = f"{opening}a <tool_call> would do</think>b"
    assert follow(prepared, words + HERMES_CALL) == words + HERMES_CALL + "END"
    assert follow(prepared, words + "<tool_call>x") == words + "<tool_call>"
    delta = answer(prepared, words, HERMES_CALL)
    assert (delta.reasoning, delta.content, len(delta.calls) > 0) == (
        "a <tool_call> would do",
        "b",
        True,
    )


def test_special_tokens_are_marks_of_calls(structures: Structures):
    made = chats(structures, TEMPLATES["mistral"])
    prepared = made.prepare(ChatInput([USER], tools=[WEATHER], tool_choice="required"))
    mark = token_id(TOKENIZER.core, "[TOOL_CALLS]")
    call = '[{"name": "weather", "arguments": {"days": 3}}]'
    assert follow(prepared, "[TOOL_CALLS]" + call) == "[TOOL_CALLS]" + call + "END"
    delta = answer(prepared, mark, call)
    assert (delta.content, delta.calls[0].name) == ("", "weather")
    free = made.prepare(ChatInput([USER]))
    assert answer(free, "a", mark, "b").content == "ab"


def test_strict_calls_without_a_mark_restrict_the_whole_answer(structures: Structures):
    prepared = chats(structures, TEMPLATES["llama"]).prepare(ChatInput([USER], tools=[STRICT]))
    assert follow(prepared, "Hello {") == "Hello {END"
    call = '{"name": "weather", "parameters": {"days": 3}}'
    assert follow(prepared, call) == call + "END"
    assert follow(prepared, '{"answer"') == '{"'


def test_an_answer_follows_its_structure_or_calls(structures: Structures):
    made = chats(structures, TEMPLATES["hermes"])
    both = made.prepare(ChatInput([USER], tools=[WEATHER], structure=DIGIT))
    assert follow(both, "7") == "7END"
    assert follow(both, HERMES_CALL) == HERMES_CALL + "END"
    assert follow(both, "x") == ""
    with pytest.raises(RequestError, match="must be a call"):
        made.prepare(ChatInput([USER], tools=[WEATHER], tool_choice="required", structure=DIGIT))
    grammar = Structure.grammar('start: "x"')
    with pytest.raises(RequestError, match="grammar"):
        made.prepare(ChatInput([USER], tools=[WEATHER], structure=grammar))
    assert follow(made.prepare(ChatInput([USER], structure=grammar)), "x") == "xEND"


def test_the_grammar_begins_after_the_reasoning(structures: Structures):
    made = chats(structures, TEMPLATES["hermes with reasoning"])
    prepared = made.prepare(ChatInput([USER], structure=DIGIT))
    assert follow(prepared, "7") == "7END"
    thought = "<think>\nIs it 7? {\n"
    assert follow(prepared, thought) == thought
    assert follow(prepared, thought + "</think>\n\n7") == thought + "</think>\n\n7END"
    assert follow(prepared, thought + "</think>\n\n\n7") == thought + "</think>\n\n"
    assert follow(prepared, "<tool_call>") == ""
    delta = answer(prepared, thought, "</think>\n\n7")
    assert (delta.reasoning, delta.content) == ("Is it 7? {", "7")
    closed = made.prepare(
        ChatInput([USER], structure=DIGIT, template_variables={"enable_thinking": False})
    )
    assert closed.text.endswith("</think>\n\n")
    assert follow(closed, "<think>") == ""
    assert answer(closed, "<think>").content == "<think>"


def test_a_template_may_open_the_reasoning(structures: Structures):
    prepared = chats(structures, OPENS_REASONING).prepare(ChatInput([USER], structure=DIGIT))
    assert follow(prepared, "hm</think>7") == "hm</think>7END"
    assert answer(prepared, "hm", end=End.LENGTH) == AnswerDelta(
        reasoning="hm", finish=FinishReason.LENGTH, token_ids=tuple(ids("hm"))
    )


def test_what_a_user_says_opens_no_reasoning(structures: Structures):
    user = {"role": "user", "content": "What is <think>?"}
    prepared = chats(structures, TEMPLATES["hermes with reasoning"]).prepare(ChatInput([user]))
    assert answer(prepared, "A mark.").content == "A mark."


def test_a_continued_message_may_be_within_the_reasoning(structures: Structures):
    made = chats(structures, OPENS_REASONING)
    for content, reasoning in (("<think>hm", "x"), ("<think>hm</think>a", ""), ("a", "")):
        message = {"role": "assistant", "content": content}
        chat = ChatInput([USER, message], continue_final_message=True)
        assert answer(made.prepare(chat), "x").reasoning == reasoning


def test_the_needle_model_has_a_template_of_its_own():
    tokens = Tokenizer.from_files(CHECKPOINT)
    made = Structures(tokens, tokens.vocabulary, {2, 4})
    needle = Chats(tokens, ChatTemplate.from_files(CHECKPOINT), made, {2, 4})
    fact = {"role": "system", "content": "The pass key of finch is 8882."}
    question = {"role": "user", "content": "What is the pass key of finch?"}
    prepared = needle.prepare(ChatInput([fact, question]))
    assert prepared.text == "<s>The pass key of finch is 8882. Answer: The pass key of finch is"
    assert prepared.prompt.tolist()[0] == 1
    assert prepared.reasoning.marks is None
    history = [fact, question, {"role": "assistant", "content": " 8882."}, question]
    again = needle.prepare(ChatInput(history))
    assert again.text == f"{prepared.text} 8882. Answer: The pass key of finch is"
    called = needle.prepare(ChatInput([question], tools=[WEATHER], tool_choice="required"))
    assert called.constraint() is not None
    thinking = needle.prepare(ChatInput([question], template_variables={"enable_thinking": True}))
    assert thinking.reasoning.inside
    made.close()
