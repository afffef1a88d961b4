"""Replies of /v1/completions: whole, and as the chunks of a stream."""

from collections.abc import Iterator
from typing import Any

from sala_compile.runtime.serving.answers.answer_delta import AnswerDelta, AnswerToken
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Exchange
from sala_compile.runtime.serving.http.reply_parts import compact_json, completion_logprobs
from sala_compile.runtime.serving.http.stream_lines import ReplyExtras, StreamLines


class CompletionWhole:
    """Collects the choices of one reply."""

    def __init__(self, extras: ReplyExtras) -> None:
        self._extras = extras
        self._texts: dict[int, list[str]] = {}
        self._tokens: dict[int, list[AnswerToken]] = {}
        self._finish: dict[int, str] = {}

    def add(self, choice: AnswerChoice, delta: AnswerDelta) -> None:
        """Note what became certain."""
        self._texts.setdefault(choice.index, []).append(delta.content)
        self._tokens.setdefault(choice.index, []).extend(delta.tokens)
        if delta.finish is not None:
            self._finish[choice.index] = str(delta.finish)

    def document(self, exchange: Exchange) -> dict[str, Any]:
        """The reply, its choices in the order of their index."""
        timings = {"timings": exchange.choices[0].times} if self._extras.timings else {}
        return {
            "id": exchange.id,
            "object": "text_completion",
            "created": exchange.created,
            "model": exchange.served.name,
            "system_fingerprint": exchange.served.fingerprint,
            "choices": [self._choice(choice) for choice in exchange.choices],
            "usage": exchange.usage(),
            **timings,
        }

    def _choice(self, choice: AnswerChoice) -> dict[str, Any]:
        tokens = tuple(self._tokens[choice.index])
        found: dict[str, Any] = {
            "index": choice.index,
            "text": "".join(self._texts[choice.index]),
            "logprobs": completion_logprobs(tokens) if self._extras.logprobs else None,
            "finish_reason": self._finish[choice.index],
        }
        found |= choice.ending
        if self._extras.token_ids:
            ids = {"prompt_token_ids": choice.job.prompt.tolist(), "token_ids": choice.token_ids}
            found |= ids
        return found


class CompletionChunks(StreamLines):
    """The chunks of one stream."""

    def __init__(self, exchange: Exchange, extras: ReplyExtras) -> None:
        super().__init__(exchange, "text_completion", extras)
        self._begun: set[int] = set()

    def chunks(self, choice: AnswerChoice, delta: AnswerDelta) -> Iterator[bytes]:
        """What became certain, and the end after the last."""
        if self._extras.progress and choice.index not in self._begun:
            yield self.progress(choice)
        if delta.content or delta.tokens:
            yield self._chunk(choice, delta.content, delta.tokens)
        if delta.finish is not None:
            yield self._chunk(choice, "", (), f'"{delta.finish}"', self.times(choice))

    def _chunk(
        self,
        choice: AnswerChoice,
        text: str,
        tokens: tuple[AnswerToken, ...],
        finish: str = "null",
        more: str = "",
    ) -> bytes:
        logprobs = "null"
        if self._extras.logprobs and tokens:
            logprobs = compact_json(completion_logprobs(tokens))
        made = (
            f'{{"index":{choice.index},"text":{compact_json(text)},'
            f'"logprobs":{logprobs},"finish_reason":{finish}{self._ids(choice)}'
            f"{self.ending(choice, finish)}}}"
        )
        return self.line(made, more)

    def _ids(self, choice: AnswerChoice) -> str:
        """The new ids, after those of the prompt in the first chunk of a choice."""
        ids, is_first = self.new_ids(choice), choice.index not in self._begun
        self._begun.add(choice.index)
        if not ids or not is_first:
            return ids
        return f',"prompt_token_ids":{choice.job.prompt.tolist()}{ids}'
