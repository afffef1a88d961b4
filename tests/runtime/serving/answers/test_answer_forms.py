"""Answers with reasoning, calls, stops and log probabilities at once, however they arrive."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta
from sala_compile.runtime.serving.answers.answer_text import AnswerForm, AnswerText
from sala_compile.runtime.serving.tools.piece import AnswerParser
from sala_compile.runtime.serving.tools.reasoning import MARKS, ReasoningParser
from sala_compile.runtime.serving.tools.tool_definitions import tool_use
from sala_compile.runtime.serving.tools.tool_formats import HERMES, MINICPM, MISTRAL, ToolFormat
from sala_compile.runtime.serving.work.event import End, Ended, Event, Likelihood, TokenChosen
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import KINDS, token_id, with_plain_tokens

TOOLS = [{"type": "function", "function": {"name": "f"}}]


def tokenizer(name: str) -> Tokenizer:
    core = with_plain_tokens(KINDS[name]())
    core.add_special_tokens(["[TOOL_CALLS]", "</think>"])
    core.add_tokens(["<tool_call>"])
    return Tokenizer(core, {})


TOKENIZERS = {name: tokenizer(name) for name in ("byte level", "llama", "unigram")}
PARTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<function", "\n"),
    *('{"name": "f", ', '"arguments": {', '"a": 1', "}", '[{"name":"f"}]', ' name="f">'),
    *("</function>", '<param name="a">', "</param>", "ab", " ", "\u00e9\U0001f600", "<|end|>"),
]


def form(kind: ToolFormat, tokens: Tokenizer, *, inside: bool) -> AnswerForm:
    use = tool_use(TOOLS)
    assert use is not None
    parser: AnswerParser = ReasoningParser(MARKS[0], kind.parser(use), inside=inside)
    read = {token_id(tokens.core, mark): mark for mark in ("[TOOL_CALLS]", "</think>")}
    return AnswerForm(parser, read)


def given_of(
    kind: ToolFormat,
    tokens: Tokenizer,
    events: Sequence[Event],
    cuts: Sequence[int],
    stop: Sequence[str],
    *,
    inside: bool,
) -> list[AnswerDelta]:
    answer = AnswerText(tokens, stop=stop, form=form(kind, tokens, inside=inside))
    found, place = [], 0
    for size in [*cuts, *[1] * len(events)]:
        found.append(answer.feed(events[place : place + size]))
        place += size
    return [each for each in found if each]


def joined(found: Sequence[AnswerDelta]) -> tuple[str, str, list[tuple[int, str]], object]:
    calls: list[tuple[int, str]] = []
    for call in (call for each in found for call in each.calls):
        if call.name is not None:
            assert call.index == len(calls)
            calls.append((call.index, ""))
        assert call.index == calls[-1][0]
        calls[-1] = (call.index, calls[-1][1] + call.arguments)
    (finish,) = [each.finish for each in found if each.finish]
    content = "".join(each.content for each in found)
    return content, "".join(each.reasoning for each in found), calls, finish


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("kind", [HERMES, MINICPM, MISTRAL], ids=lambda kind: kind.name)
@settings(deadline=None, max_examples=60)
@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=12),
    cuts=st.lists(st.integers(0, 8), max_size=8),
    stop=st.lists(st.sampled_from(["ab", "}", "</", "\n", "all> "]), max_size=2),
    inside=st.booleans(),
)
def test_no_split_changes_an_answer(
    name: str, kind: ToolFormat, parts: list[str], cuts: list[int], stop: list[str], inside: bool
):
    tokens = TOKENIZERS[name]
    ids = tokens.encode_continuation("".join(parts))
    events: list[Event] = [TokenChosen(token, Likelihood(-1.0)) for token in ids]
    events.append(Ended(End.LENGTH))
    whole = given_of(kind, tokens, events, [len(events)], stop, inside=inside)
    found = given_of(kind, tokens, events, cuts, stop, inside=inside)
    assert joined(found) == joined(whole)
    content, reasoning, calls, _ = joined(found)
    thought = [token.text for each in found for token in each.reasoning_tokens]
    others = [token.text for each in found for token in each.tokens]
    assert "".join(thought) == reasoning
    assert len(thought) + len(others) <= len(ids)
    if calls:
        assert len("".join(others)) >= len(content)
    else:
        assert "".join(others) == content
    for text in stop:
        assert text not in content + reasoning
