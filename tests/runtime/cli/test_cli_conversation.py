"""A conversation as token ids: what stays between turns, and what is forgotten."""

from pathlib import Path

import pytest

from sala_compile.runtime.cli.conversation import ContextError, Conversation, TemplateChoice
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import byte_level

TEMPLATE = """{%- for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}
{%- if add_generation_prompt %}a:{% endif %}"""


@pytest.fixture
def conversation(tmp_path: Path) -> Conversation:
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    opening = [{"role": "system", "content": "s" * 6}]
    return Conversation(tmp_path, Tokenizer(byte_level(), {}), TemplateChoice(), opening)


def _text(conversation: Conversation, ids: list[int]) -> str:
    return conversation._tokenizer.decode(ids)


def test_places_that_stay(conversation: Conversation):
    conversation.ask("hi")
    ids = conversation.token_ids()
    assert _text(conversation, ids) == "s:ssssss;u:hi;a:"
    assert conversation.settled(ids) == len(ids)
    assert conversation.shared(ids) == len("s:ssssss;")


def test_as_few_of_the_oldest_turns_are_dropped_as_make_room(conversation: Conversation):
    for turn in range(8):
        conversation.ask(f"{turn}" * 4)  # 7 tokens
        if turn < 7:
            conversation.answer("x" * 4)  # 7 more
    whole = 9 + 7 * 14 + 7 + 2
    ids, dropped = conversation.fit(whole + 10, 10)
    assert (len(ids), dropped) == (whole, 0)
    context = whole + 9  # one too few: three quarters are wanted
    most = context - context // 4 - 10
    ids, dropped = conversation.fit(context, 10)
    assert dropped == -(-(whole - most) // 14)
    assert len(ids) == whole - 14 * dropped
    text = _text(conversation, ids)
    assert text.startswith(f"s:ssssss;u:{dropped}{dropped}")
    assert text.endswith("u:7777;a:")
    assert conversation.fit(context, 10) == (ids, 0)


def test_only_the_newest_message_is_left_where_nothing_else_fits(conversation: Conversation):
    for text in ("a" * 30, "b" * 30, "c" * 30):
        conversation.ask(text)
        conversation.answer("x")
    conversation.ask("d" * 60)
    ids, dropped = conversation.fit(76, 100)
    assert (len(ids), dropped) == (74, 3)
    conversation.answer("y")
    conversation.ask("e" * 70)
    with pytest.raises(ContextError, match="84 tokens do not fit the context of 76"):
        conversation.fit(76, 100)
    assert len(conversation.turns) == 2, "nothing is forgotten for it"
