"""Chats of a small tokenizer: prompts that templates write, answers, and what restricts them."""

from typing import Any

from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta
from sala_compile.runtime.serving.answers.chats import ChatInput, Chats, PreparedChat
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.work.event import End, Ended, TokenChosen
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.chat_templates import (
    chat_template,
)
from tests.support.tokenizers import EOS, byte_level, token_id

USER = {"role": "user", "content": "U"}
SYSTEM = {"role": "system", "content": "S"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["days"],
            "additionalProperties": False,
        },
    },
}
STRICT = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
NAMED = {"type": "function", "function": {"name": "weather"}}
DIGIT = Structure.schema({"type": "integer", "minimum": 1, "maximum": 9})


def tokenizer() -> Tokenizer:
    core = byte_level()
    core.add_special_tokens(["<|im_start|>", "<|im_end|>", "[TOOL_CALLS]", "</think>"])
    core.add_tokens(["<tool_call>"])
    return Tokenizer(core, {})


TOKENIZER = tokenizer()
END = token_id(TOKENIZER.core, EOS)


def chats(structures: Structures, source: str) -> Chats:
    return Chats(TOKENIZER, chat_template(source), structures, {END})


def text(structures: Structures, source: str, *messages: Any, **more: Any) -> str:
    return chats(structures, source).prepare(ChatInput(list(messages), **more)).text


def ids(words: str) -> list[int]:
    return TOKENIZER.encode(words, special=False)


def answer(prepared: PreparedChat, *parts: str | int, end: End = End.END_TOKEN) -> AnswerDelta:
    """What a client gets of an answer of texts and tokens."""
    tokens = [token for part in parts for token in (ids(part) if isinstance(part, str) else [part])]
    reader = prepared.answer(ends=frozenset({END}))
    chosen = [TokenChosen(token) for token in tokens]
    chosen += [TokenChosen(END)] if end is End.END_TOKEN else []
    return reader.feed([*chosen, Ended(end)])


def follow(prepared: PreparedChat, words: str) -> str:
    """How much of `words`, in tokens, the constraint permits; then `END` if it may end there."""
    constraint, found = prepared.constraint(), ""
    assert constraint is not None
    for token in ids(words):
        mask = constraint.allowed()
        if mask is not None and not mask[token // 32] >> (token % 32) & 1:
            return found
        constraint.accept(token)
        found += TOKENIZER.core.decode([token], skip_special_tokens=False)
        if constraint.complete():
            return found + "END"
    mask = constraint.allowed()
    may_end = mask is None or bool(mask[END // 32] >> (END % 32) & 1)
    return found + ("END" if may_end else "")
