"""Which tokens a piece of text came from."""

from collections import deque
from dataclasses import dataclass

from sala_compile.runtime.serving.answers.answer_delta import AnswerToken, TopToken
from sala_compile.runtime.serving.tools.piece import Channel
from sala_compile.runtime.serving.work.event import Likelihood
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.token_spelling import escaped


@dataclass(slots=True)
class _Waiting:
    """A token: the rest of its text that no piece has taken yet, and what pieces have taken."""

    id: int
    likelihood: Likelihood | None
    data: bytes
    rest: str
    taken: str = ""
    open: bool = False  # its bytes begin a character, or belong to none
    cut: bool = False
    channel: Channel | None = None


class TokenTexts:
    """Tokens in the order of their text; pieces of the text take them from the front.

    A token without text of its own, such as a part of a character, goes with the next that has
    some, and so does one whose bytes are not yet decided. A token whose text is in several pieces
    goes with the last of them; text that nobody gets (`Channel.SYNTAX`) is cut off it, and a token
    of nothing else is left out.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._spelling = tokenizer.spelling
        self._queue: deque[_Waiting] = deque()
        self._channel = Channel.CONTENT
        self._offsets = dict.fromkeys(Channel, 0)

    @property
    def empty(self) -> bool:
        """Whether no token waits for its text."""
        return not self._queue

    def add(self, token: int, text: str, likelihood: Likelihood | None) -> None:
        """A token that added `text`."""
        data = self._spelling.part(token, text)
        begins = not text.encode().endswith(data)
        self._queue.append(_Waiting(token, likelihood, data, text, open=begins))

    def extend(self, text: str) -> None:
        """Text that became certain without a token: the last one's."""
        if text and self._queue:
            self._queue[-1].rest += text

    def take(self, raw: str, channel: Channel) -> list[tuple[Channel, AnswerToken]]:
        """The tokens whose text is whole with the piece `raw`, and the channel of each."""
        found: list[tuple[Channel, AnswerToken]] = []
        while raw:
            place = next((i for i, each in enumerate(self._queue) if each.rest), None)
            if place is None:
                break
            head = self._queue[place]
            part, raw = raw[: len(head.rest)], raw[len(head.rest) :]
            head.rest = head.rest[len(part) :]
            if channel is Channel.SYNTAX:
                head.cut = True
            else:
                head.taken, head.channel = head.taken + part, channel
            if not (head.rest or head.open):
                found += self._leave(place + 1)
        return found

    def finish(self) -> list[tuple[Channel, AnswerToken]]:
        """The tokens that are left at the end; what no piece took of their text is cut off."""
        place = next((i for i, each in enumerate(self._queue) if each.rest), None)
        if place is None:
            return self._leave(len(self._queue))
        self._queue[place].cut = True
        return self._leave(place + 1)

    def _leave(self, count: int) -> list[tuple[Channel, AnswerToken]]:
        """The first `count` tokens, which leave the queue; none if they are marks alone."""
        group = [self._queue.popleft() for _ in range(count)]
        if group and group[-1].cut and not group[-1].taken:
            return []
        self._channel = next((each.channel for each in group if each.channel), self._channel)
        return [(self._channel, self._token(each)) for each in group]

    def _token(self, waiting: _Waiting) -> AnswerToken:
        known, text = waiting.likelihood, waiting.taken
        offset = self._offsets[self._channel]
        self._offsets[self._channel] += len(text)
        return AnswerToken(
            id=waiting.id,
            text=text,
            data=text.encode() if waiting.cut else waiting.data,
            logprob=None if known is None else known.logprob,
            top=() if known is None else tuple(map(self._top, known.top)),
            offset=offset,
        )

    def _top(self, pair: tuple[int, float]) -> TopToken:
        data = self._spelling.of(pair[0])
        return TopToken(pair[0], escaped(data), data, pair[1])
