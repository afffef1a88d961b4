"""Pieces of replies that chats and completions share: log probabilities, lines of a stream."""

import json
from typing import Any

from sala_compile.runtime.serving.answers.answer_delta import AnswerToken, TopToken

Texts = dict[str, Any]
DONE = b"data: [DONE]\n\n"
_LEAST = -9999.0
"""What a probability of 0 is written as: JSON has no infinity."""


compact_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""A value as JSON without spaces; made once, since most of the time goes into making it."""


def event(document: dict[str, Any]) -> bytes:
    """A document as a line of a stream."""
    return b"data: " + json_bytes(document) + b"\n\n"


def json_bytes(document: dict[str, Any]) -> bytes:
    """A document in UTF-8."""
    return compact_json(document).encode()


def chat_logprobs(tokens: tuple[AnswerToken, ...]) -> list[dict[str, Any]]:
    """As chats have them: an object for each token, with its bytes."""
    return [
        {**_entry(token), "top_logprobs": [_entry(other) for other in token.top]}
        for token in tokens
    ]


def _entry(token: AnswerToken | TopToken) -> dict[str, Any]:
    return {"token": token.text, "logprob": bounded(token.logprob), "bytes": list(token.data)}


def completion_logprobs(tokens: tuple[AnswerToken, ...]) -> dict[str, Any]:
    """As completions have them: lists with an entry for each token.

    The chosen token is among the `top_logprobs`; of several with the same text the likeliest is.
    """
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [
            None if token.logprob is None else bounded(token.logprob) for token in tokens
        ],
        "top_logprobs": [_top(token) for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def _top(token: AnswerToken) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for text, logprob in ((token.text, token.logprob), *((t.text, t.logprob) for t in token.top)):
        found[text] = max(bounded(logprob), found.get(text, _LEAST))
    return found


def bounded(logprob: float | None) -> float:
    """A log probability that JSON can have."""
    return _LEAST if logprob is None else max(logprob, _LEAST)
