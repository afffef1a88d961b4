"""Calls in every format: written by a grammar, read however they arrive."""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.tools import tool_formats
from sala_compile.runtime.serving.tools.call_grammar import call_structure
from sala_compile.runtime.serving.tools.piece import AnswerParser, CallDelta, Channel, Piece
from sala_compile.runtime.serving.tools.tool_definitions import ToolUse, tool_use
from sala_compile.runtime.serving.tools.tool_formats import ToolFormat, tool_format
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.chat_templates import PLAIN, TEMPLATES
from tests.support.tokenizers import EOS, byte_level, token_id

FORMATS = {form.name: form for form in vars(tool_formats).values() if isinstance(form, ToolFormat)}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"enum": ["c", "f"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "no-thing"}},
]
PYTHON_TOOLS = [TOOLS[0], {"type": "function", "function": {"name": "nothing"}}]


def use_of(form: ToolFormat, **more: Any) -> ToolUse:
    tools = PYTHON_TOOLS if "python" in form.name else TOOLS
    made = tool_use(tools, more.get("choice", "auto"), more.get("parallel"))
    assert made is not None
    return made


def split(text: str, cuts: Sequence[int]) -> list[str]:
    """`text` in pieces of the sizes `cuts`, then of single characters."""
    parts, place = [], 0
    for size in [*cuts, *[1] * len(text)]:
        parts.append(text[place : place + size])
        place += size
    return parts


def parsed(parser: AnswerParser, parts: Sequence[str]) -> list[Piece]:
    return [piece for part in parts for piece in parser.push(part)] + list(parser.flush())


def content(pieces: Sequence[Piece]) -> str:
    return "".join(piece.raw for piece in pieces if piece.channel is Channel.CONTENT)


def calls(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Name and arguments of each call; checks what clients depend on."""
    found: list[list[str]] = []
    ids = set()
    for delta in (delta for piece in pieces for delta in piece.calls):
        if delta.index == len(found):
            assert delta.id is not None
            assert delta.name is not None
            ids.add(delta.id)
            found.append([delta.name, delta.arguments])
        else:
            assert delta == CallDelta(len(found) - 1, arguments=delta.arguments)
            assert delta.arguments
            found[-1][1] += delta.arguments
    assert len(ids) == len(found)
    return [(name, arguments) for name, arguments in found]


WRITTEN = {
    "hermes": '\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "P\u00e9 \\"x\\""}}\n'
    '</tool_call>\n<tool_call>{"arguments": {}, "name": "no-thing"}</tool_call>\n',
    "minicpm": '<function name="get_weather"><param name="city"><![CDATA[P\u00e9 "x"]]></param>'
    "</function>\n<function name='no-thing'></function>",
    "qwen tags": '<tool_call>\n<function=get_weather>\n<parameter=city>\nP\u00e9 "x"\n'
    "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=no-thing>\n</function>\n"
    "</tool_call>",
    "mistral": '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "P\u00e9 \\"x\\""}, '
    '"id": "abcdefghi"}, {"name": "no-thing"}]',
    "mistral with marks": '[TOOL_CALLS]get_weather[CALL_ID]abc[ARGS]{"city": "P\u00e9 \\"x\\""}'
    "[TOOL_CALLS]no-thing[ARGS]{}",
    "llama": '{"name": "get_weather", "parameters": {"city": "P\u00e9 \\"x\\""}}; '
    '{"name": "no-thing", "parameters": {}}',
    "python block": "<|tool_call_start|>\n```python\nget_weather(city='P\u00e9 \"x\"')\nnothing()\n"
    "```\n<|tool_call_end|>",
    "python list": "<|tool_call_start|>[get_weather(city='P\u00e9 \"x\"'), nothing()]"
    "<|tool_call_end|>",
}
"""A call with arguments and one without, as models write them."""


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("before", ["", "Let me see. <b>", "\n\n"])
@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 30), max_size=8))
def test_calls_are_read_however_they_arrive(name: str, before: str, cuts: list[int]):
    form = FORMATS[name]
    if not form.opening and before.strip():
        return  # where calls have no mark, text before them makes them text
    text = before + WRITTEN[name] + "\nDone."
    pieces = parsed(FORMATS[name].parser(use_of(form, parallel=True)), split(text, cuts))
    if form.several:
        assert "".join(piece.raw for piece in pieces) == text
        (first, city), (second, nothing) = calls(pieces)
        assert (first, json.loads(city)) == ("get_weather", {"city": 'P\u00e9 "x"'})
        assert second in ("no-thing", "nothing")
        assert json.loads(nothing) == {}
        assert content(pieces) == (before if before.strip() else "") + "Done."
    else:
        ((first, city),) = calls(pieces)
        assert (first, json.loads(city)) == ("get_weather", {"city": 'P\u00e9 "x"'})
        assert content(pieces) == ""


@pytest.mark.parametrize("name", FORMATS)
def test_the_name_comes_first_and_texts_in_pieces(name: str):
    form = FORMATS[name]
    pieces = parsed(form.parser(use_of(form)), list(WRITTEN[name]))
    deltas = [delta for piece in pieces for delta in piece.calls if delta.index == 0]
    assert (deltas[0].name, deltas[0].arguments) == ("get_weather", "")
    if "python" not in name:
        assert len(deltas) > len('P\u00e9 "x"')


@pytest.mark.parametrize("name", FORMATS)
def test_without_parallel_calls_the_first_ends_the_answer(name: str):
    form = FORMATS[name]
    if form.listed or "python" in name:
        return  # one opening has them all
    parser = form.parser(use_of(form, parallel=False))
    pieces = parsed(parser, [WRITTEN[name]])
    assert len(calls(pieces)) == 1
    assert parser.finished


NOT_CALLS = [
    "<tool_call> is how one calls.",
    "<tool_call>\n{'name': 1}\n</tool_call>",
    "<function of the heart>",
    "<function>",
    "[TOOL_CALLS] are [1, 2]",
    '{"answer": {"name": "x"}, "list": [1]}',
    '{"name": "unknown", "parameters": {}} and so on',
    "{}",
    "<|tool_call_start|> nothing of a call",
    "<|tool_call_start|>[f(1)]<|tool_call_end|>",
    "[TOOL_CALLS][]",
    " \n",
    "",
    "text <tool_cal",
]


@pytest.mark.parametrize("text", NOT_CALLS)
@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 30), max_size=5))
def test_what_is_no_call_is_content(name: str, text: str, cuts: list[int]):
    form = FORMATS[name]
    pieces = parsed(form.parser(use_of(form)), split(text, cuts))
    if not calls(pieces):
        assert content(pieces) == text
    else:  # a name that is followed by nonsense was given already
        assert "".join(piece.raw for piece in pieces) == text


PARTS = [
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|tool_call_start|>", "<function"),
    *('{"name": "get_weather", ', '"arguments": {', "}", "[", "]", ' name="get_weather">'),
    *("<function=get_weather>", "</function>", '<param name="city">', "</param>", "x", "\n"),
    *("get_weather(", "city='a'", ")", "[ARGS]", "<![CDATA[", "]]>", "<parameter=city>"),
]


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=60)
@given(
    parts=st.lists(
        st.sampled_from(PARTS),
        max_size=10,
    ),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_no_text_is_lost_and_no_split_matters(name: str, parts: list[str], cuts: list[int]):
    form, text = FORMATS[name], "".join(parts)
    whole = parsed(form.parser(use_of(form)), [text])
    pieces = parsed(form.parser(use_of(form)), split(text, cuts))
    for found in (whole, pieces):
        assert "".join(piece.raw for piece in found) == text[: len("".join(p.raw for p in found))]
    assert calls(pieces) == calls(whole)
    assert content(pieces) == content(whole)


@pytest.fixture(scope="module")
def structures() -> Iterator[Structures]:
    tokenizer = Tokenizer(byte_level(), {})
    made = Structures(tokenizer, tokenizer.vocabulary, {token_id(tokenizer.core, EOS)})
    yield made
    made.close()


def written(structures: Structures, form: ToolFormat, use: ToolUse, seed: int) -> str | None:
    """A random answer of the grammar of calls; None if it does not end."""
    structure = call_structure(form, use, json.dumps)
    constraint = structures.compile(structure).constraint()
    tokens, draw, answer = structures.tokens, random.Random(seed), []
    while not constraint.complete():
        if len(answer) > 3000:
            return None
        bits = np.unpackbits(constraint.allowed().view(np.uint8), bitorder="little")
        allowed = [int(token) for token in np.flatnonzero(bits)]
        ends = [token for token in allowed if token in tokens.ends]
        if ends and draw.random() < 0.7:
            break
        closing = [each for each in allowed if tokens.tokens[each] in (b'"', b"<", b"}", b"/")]
        texts = [each for each in allowed if 32 <= (tokens.tokens[each] or b"\0")[0] < 127]
        choices = closing if closing and draw.random() < 0.6 else texts or allowed
        answer.append(draw.choice(choices))
        constraint.accept(answer[-1])
    return tokens.tokenizer.decode(answer)


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_grammar_of_calls_permits_is_read_as_calls(structures: Structures, name: str):
    form = FORMATS[name]
    use = use_of(form, choice="required")
    several, valid = 0, 0
    for seed in range(12):
        text = written(structures, form, use, seed)
        if text is None:
            continue
        pieces = parsed(form.parser(use), split(text, [seed]))
        found = calls(pieces)
        assert found
        assert content(pieces) == ""
        several += len(found) > 1
        for tool, arguments in found:
            values = json.loads(arguments)
            if tool == "get_weather":
                jsonschema.validate(values, SCHEMA)
                valid += 1
            else:
                assert values == {}
    assert valid > 0
    assert (several > 0) == form.several


def test_arguments_have_the_types_of_the_schema():
    properties = {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": ["number", "null"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "many": {"type": "array"},
    }
    parameters = {"type": "object", "properties": properties}
    use = tool_use([{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert use is not None
    values = {
        **{"text": "12", "count": "12", "share": "null", "either": "null", "many": "[1, {}]"},
        **{"unknown": "true", "other": "a < b\n"},
    }
    tags = "".join(f'<param name="{key}">{value}</param>' for key, value in values.items())
    pieces = parsed(FORMATS["minicpm"].parser(use), [f'<function name="f">{tags}</function>'])
    ((_, arguments),) = calls(pieces)
    assert json.loads(arguments) == {
        **{"text": "12", "count": 12, "share": None, "either": None, "many": [1, {}]},
        **{"unknown": True, "other": "a < b\n"},
    }


def test_arguments_given_as_a_text_are_read():
    text = '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>'
    pieces = parsed(FORMATS["hermes"].parser(use_of(FORMATS["hermes"])), list(text))
    assert calls(pieces) == [("f", '{"a": 1}')]


@pytest.mark.parametrize("name", TEMPLATES)
def test_formats_are_known_from_their_templates(name: str):
    form = tool_format(TEMPLATES[name])
    assert form is not None
    assert form.name == name.removesuffix(" with reasoning")


def test_templates_without_known_calls_have_no_format():
    assert tool_format(PLAIN) is None
    assert tool_format("{{ tools }}<tool_call>{name}<arg_key>") is None
    assert tool_format("{{ tools }}") is None


def function(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


@pytest.mark.parametrize(
    ("tools", "choice", "where"),
    [
        ({}, None, "tools"),
        ([3], None, "tools[0]"),
        ([{"type": "web_search"}], None, "tools[0].type"),
        ([{"type": "function"}], None, "tools[0].function"),
        ([function("")], None, "tools[0].function.name"),
        ([function('a"b')], None, "tools[0].function.name"),
        ([function("a"), function("a")], None, "tools[1].function.name"),
        ([function("a", {"type": "array"})], None, "tools[0].function.parameters"),
        ([function("a", "x")], None, "tools[0].function.parameters"),
        ([function("a", {"properties": 3})], None, "tools[0].function.parameters.properties"),
        ([function("a", {"required": 3})], None, "tools[0].function.parameters.required"),
        ([function("a", {"required": [3]})], None, "tools[0].function.parameters.required"),
        ([function(f"f{i}") for i in range(129)], None, "tools"),
        ([function("a")], "any", "tool_choice"),
        ([function("a")], {"type": "allowed_tools"}, "tool_choice"),
        (
            [function("a")],
            {"type": "function", "function": {"name": "b"}},
            "tool_choice.function.name",
        ),
        (None, "required", "tool_choice"),
        ([], {"type": "function", "function": {"name": "b"}}, "tool_choice"),
    ],
)
def test_what_is_no_tool_is_refused_by_name(tools: Any, choice: Any, where: str):
    with pytest.raises(RequestError) as found:
        tool_use(tools, choice)
    assert found.value.where == where


def test_choices_are_read():
    tools = [function("a"), function("b")]
    assert tool_use(None) is None
    assert tool_use([], "auto") is None
    assert tool_use(tools, "none") is None
    free = tool_use(tools, parallel=False)
    assert free is not None
    assert (free.required, free.named, free.parallel) == (False, False, False)
    named = tool_use(tools, {"type": "function", "function": {"name": "b"}})
    assert named is not None
    assert ([tool.name for tool in named.tools], named.required, named.named) == (["b"], True, True)


@pytest.mark.parametrize("name", FORMATS)
def test_schemas_that_cannot_be_enforced_are_refused_if_strict(structures: Structures, name: str):
    schema = {"type": "object", "properties": {"a": {"type": "object", "not": {}}}}
    form = FORMATS[name]
    for strict in (False, True):
        use = tool_use([function("a", schema, strict=strict)], "required")
        assert use is not None
        if strict:
            with pytest.raises(RequestError) as found:
                call_structure(form, use, json.dumps)
            assert "parameters" in str(found.value.where)
        else:
            structures.compile(call_structure(form, use, json.dumps))
