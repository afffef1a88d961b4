"""Replies of /v1/chat/completions: whole, and as the chunks of a stream."""

from collections.abc import Iterator
from typing import Any

from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta, AnswerToken
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Exchange
from sala_compile.runtime.serving.http.reply_parts import chat_logprobs, compact_json
from sala_compile.runtime.serving.http.stream_lines import ReplyExtras, StreamLines
from sala_compile.runtime.serving.tools.piece import CallDelta


class ChatWhole:
    """Collects the choices of one reply."""

    def __init__(self, extras: ReplyExtras) -> None:
        self._extras = extras
        self._messages: dict[int, dict[str, Any]] = {}
        self._tokens: dict[int, list[AnswerToken]] = {}
        self._finish: dict[int, str] = {}

    def add(self, choice: AnswerChoice, delta: AnswerDelta) -> None:
        """Note what became certain."""
        message = self._messages.setdefault(
            choice.index, {"content": [], "reasoning": [], "calls": []}
        )
        message["content"].append(delta.content)
        message["reasoning"].append(delta.reasoning)
        for call in delta.calls:
            _join(message["calls"], call)
        self._tokens.setdefault(choice.index, []).extend(delta.tokens)
        if delta.finish is not None:
            self._finish[choice.index] = str(delta.finish)

    def document(self, exchange: Exchange) -> dict[str, Any]:
        """The reply."""
        found: dict[str, Any] = {
            "id": exchange.id,
            "object": "chat.completion",
            "created": exchange.created,
            "model": exchange.served.name,
            "system_fingerprint": exchange.served.fingerprint,
            "choices": [self._choice(choice) for choice in exchange.choices],
            "usage": exchange.usage(),
        }
        if self._extras.token_ids:
            found["prompt_token_ids"] = exchange.choices[0].job.prompt.tolist()
        if self._extras.timings:
            found["timings"] = exchange.choices[0].times
        return found

    def _choice(self, choice: AnswerChoice) -> dict[str, Any]:
        parts = self._messages[choice.index]
        content, reasoning = "".join(parts["content"]), "".join(parts["reasoning"])
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content or (None if parts["calls"] else ""),
            "refusal": None,
        }
        if reasoning:
            message["reasoning_content"] = reasoning
        if parts["calls"]:
            message["tool_calls"] = parts["calls"]
        tokens = tuple(self._tokens[choice.index])
        logprobs = (
            {"content": chat_logprobs(tokens), "refusal": None} if self._extras.logprobs else None
        )
        found: dict[str, Any] = {
            "index": choice.index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self._finish[choice.index],
        }
        found |= choice.ending
        return found | ({"token_ids": choice.token_ids} if self._extras.token_ids else {})


def _join(calls: list[dict[str, Any]], delta: CallDelta) -> None:
    """Add a part of a call to the calls so far."""
    while len(calls) <= delta.index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call = calls[delta.index]
    call["id"] = delta.id or call["id"]
    call["function"]["name"] = delta.name or call["function"]["name"]
    call["function"]["arguments"] += delta.arguments


class ChatChunks(StreamLines):
    """The chunks of one stream."""

    def __init__(self, exchange: Exchange, extras: ReplyExtras) -> None:
        super().__init__(exchange, "chat.completion.chunk", extras)
        self._begun: set[int] = set()

    def chunks(self, choice: AnswerChoice, delta: AnswerDelta) -> Iterator[bytes]:
        """What became certain: the role before the first of a choice, its end after the last."""
        if self._extras.progress and choice.index not in self._begun:
            yield self.progress(choice)
        if not delta:
            return
        if choice.index not in self._begun:
            self._begun.add(choice.index)
            yield self._role(choice, delta)
        if delta.reasoning:
            yield self._chunk(choice, {"reasoning_content": delta.reasoning})
        content = {"content": delta.content} if delta.content else {}
        calls = {"tool_calls": [_call(each) for each in delta.calls]} if delta.calls else {}
        if content or calls or delta.tokens:
            yield self._chunk(choice, content | calls, delta.tokens)
        if delta.finish is not None:
            yield self._chunk(choice, {}, (), f'"{delta.finish}"', self.times(choice))

    def _role(self, choice: AnswerChoice, delta: AnswerDelta) -> bytes:
        content = None if delta.calls and not delta.content else ""
        ids = self._extras.token_ids and choice.index == 0
        more = f',"prompt_token_ids":{choice.job.prompt.tolist()}' if ids else ""
        return self._chunk(choice, {"role": "assistant", "content": content}, more=more)

    def _chunk(
        self,
        choice: AnswerChoice,
        delta: dict[str, Any],
        tokens: tuple[AnswerToken, ...] = (),
        finish: str = "null",
        more: str = "",
    ) -> bytes:
        logprobs = "null"
        if self._extras.logprobs and tokens:
            logprobs = compact_json({"content": chat_logprobs(tokens), "refusal": None})
        text = compact_json(delta)
        made = (
            f'{{"index":{choice.index},"delta":{text},"logprobs":{logprobs},'
            f'"finish_reason":{finish}{self.new_ids(choice)}{self.ending(choice, finish)}}}'
        )
        return self.line(made, more)


def _call(delta: CallDelta) -> dict[str, Any]:
    """A part of a call: its id and name with the first."""
    function: dict[str, Any] = {"arguments": delta.arguments}
    if delta.name is None:
        return {"index": delta.index, "function": function}
    function = {"name": delta.name, **function}
    return {"index": delta.index, "id": delta.id, "type": "function", "function": function}
