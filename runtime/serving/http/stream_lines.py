"""The lines of a stream, whatever it is of: what all of its chunks have in common."""

from dataclasses import dataclass

from sala_compile.runtime.serving.http.exchange import AnswerChoice, Exchange
from sala_compile.runtime.serving.http.reply_parts import compact_json
from sala_compile.runtime.serving.http.request_fields import AnswerFields


@dataclass(frozen=True, slots=True)
class ReplyExtras:
    """What a reply has besides its texts, as requested.

    `usage` and `progress` are of streams: a last chunk with the tokens of the request, and chunks
    while a prompt is read.
    """

    logprobs: bool = False
    token_ids: bool = False
    timings: bool = False
    usage: bool = False
    progress: bool = False

    @staticmethod
    def of(fields: AnswerFields, *, logprobs: bool) -> "ReplyExtras":
        """Those that the fields of a request name."""
        options = fields.stream_options
        return ReplyExtras(
            logprobs=logprobs,
            token_ids=bool(fields.return_token_ids),
            timings=bool(fields.timings),
            usage=options is not None and bool(options.include_usage),
            progress=bool(fields.return_progress),
        )


class StreamLines:
    """Writes the chunks of one stream as lines, from the JSON of their choices."""

    def __init__(self, exchange: Exchange, kind: str, extras: ReplyExtras) -> None:
        """Of objects of a `kind`; with usage, all but the last have null for it."""
        head = {
            "id": exchange.id,
            "object": kind,
            "created": exchange.created,
            "model": exchange.served.name,
            "system_fingerprint": exchange.served.fingerprint,
        }
        self._head = "data: " + compact_json(head)[:-1]
        self._tail = ',"usage":null}\n\n' if extras.usage else "}\n\n"
        self._exchange = exchange
        self._extras = extras
        self._sent: dict[int, int] = {}

    def line(self, choice: str, more: str = "") -> bytes:
        """A chunk with one choice, and `more` fields of the chunk."""
        return f'{self._head},"choices":[{choice}]{more}{self._tail}'.encode()

    def progress(self, choice: AnswerChoice) -> bytes:
        """A chunk without a choice: how much of a prompt is read."""
        return self.line("", f',"prompt_progress":{compact_json(choice.progress)}')

    def usage(self) -> bytes:
        """The last chunk, if usage was requested."""
        usage = compact_json(self._exchange.usage())
        return f'{self._head},"choices":[],"usage":{usage}}}\n\n'.encode()

    def times(self, choice: AnswerChoice) -> str:
        """The times of a choice, as a field of its last chunk."""
        return f',"timings":{compact_json(choice.times)}' if self._extras.timings else ""

    def ending(self, choice: AnswerChoice, finish: str) -> str:
        """What is known at its end, as fields of a choice in its last chunk."""
        document = {} if finish == "null" else choice.ending
        return "".join(f',"{name}":{compact_json(value)}' for name, value in document.items())

    def new_ids(self, choice: AnswerChoice) -> str:
        """The token ids since the last call, as a field of a choice."""
        if not self._extras.token_ids:
            return ""
        had, ids = self._sent.get(choice.index, 0), choice.token_ids
        self._sent[choice.index] = len(ids)
        return f',"token_ids":{ids[had:]}'
