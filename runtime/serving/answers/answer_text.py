"""The text of one answer, from the events of its job."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.generation.stopping import StopStrings
from sala_compile.runtime.serving.answers.answer_delta import (
    AnswerDelta,
    AnswerToken,
    FinishReason,
)
from sala_compile.runtime.serving.answers.token_texts import TokenTexts
from sala_compile.runtime.serving.tools.piece import (
    AnswerParser,
    CallDelta,
    Channel,
    Piece,
    PlainText,
)
from sala_compile.runtime.serving.work.event import (
    End,
    Ended,
    Event,
    Likelihood,
    Started,
    TokenChosen,
)
from sala_compile.runtime.text.tokenizer import Tokenizer

_LIMITS = frozenset({End.LENGTH, End.CONTEXT, End.DEADLINE, End.SHUTDOWN})
_CONTEXT_TOKENS = 64
"""Tokens before a mark that the decoder after it knows."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How the text of an answer is read.

    `parser` divides it. `marks` are special tokens by id that the parser reads: others have no
    text. With `named`, the caller required the call of one function by name, which ends with
    "stop", as OpenAI's does.
    """

    parser: AnswerParser = field(default_factory=PlainText)
    marks: Mapping[int, str] = field(default_factory=dict[int, str])
    named: bool = False


class AnswerText:
    """Takes the events of a job and gives what became certain of its answer.

    Text that may begin a stop string or a mark is held back until that is decided, and given at
    an end without one. Stop strings are found in the whole text, reasoning and calls included; the
    one that is whole first counts. Once `stopped` is true, by a stop string or by the one call that
    there may be, the job is to be cancelled: what comes after has no effect.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int] = (),
        *,
        stop: Sequence[str] = (),
        ends: frozenset[int] = frozenset(),
        form: AnswerForm | None = None,
        shows_stop: bool = False,
        shows_marks: bool = False,
    ) -> None:
        """Of an answer to the ids `prompt`, which the ids `ends` may end.

        With `shows_stop`, the text includes the stop string, with `shows_marks` every special
        token. RequestError for an empty stop string.
        """
        self._tokenizer = tokenizer
        self._form = AnswerForm() if form is None else form
        self._marks = tokenizer.marks if shows_marks else self._form.marks
        self._stop = StopStrings(stop)
        self._ends = ends
        self._shows_stop = shows_stop
        recent = [int(token) for token in prompt[-_CONTEXT_TOKENS:]]
        self._recent = deque(recent, _CONTEXT_TOKENS)
        self._decoder = tokenizer.stream(recent)
        self._tokens = TokenTexts(tokenizer)
        self._held: TokenChosen | None = None  # an end token, until the job says that it ended
        self._calls = False
        self.end: End | None = None
        """What ended the job; None while it runs and after a stop string."""
        self.stopped_by: str | int | None = None
        """The stop string or the end token that ended the answer."""
        self.cached_tokens = 0
        self.completion_tokens = 0
        """Tokens of the answer, up to the one that completed a stop string."""
        self.reasoning_tokens = 0
        """Of them, those before the end of the reasoning."""
        self.finished = False

    @property
    def stopped(self) -> bool:
        """Whether the answer is over before its job, which is to be cancelled."""
        return self.finished and self.end is None

    def feed(self, events: Sequence[Event]) -> AnswerDelta:
        """What became certain with `events`; nothing once the answer is finished."""
        news = _News([])
        for event in events:
            if self.finished:
                break
            match event:
                case Started(cached_tokens):
                    self.cached_tokens = cached_tokens
                case TokenChosen():
                    self._release(news)
                    self._choose(event, news)
                case Ended():
                    self._finish(event, news)
                case _:
                    pass
        return news.delta()

    def _choose(self, event: TokenChosen, news: "_News") -> None:
        self.completion_tokens += 1
        news.ids.append(event.token)
        if event.token in self._ends:
            self._held = event
        else:
            self._token(event.token, event.likelihood, news)

    def _release(self, news: "_News") -> None:
        """An end token that did not end the answer is one like any other."""
        held, self._held = self._held, None
        if held is not None:
            self._token(held.token, held.likelihood, news)

    def _token(self, token: int, likelihood: Likelihood | None, news: "_News") -> None:
        mark = self._marks.get(token)
        if mark is None:
            text = self._decoder.push(token)
        else:
            self._text(self._decoder.flush(), news, extends=True)
            self._decoder = self._tokenizer.stream([*self._recent, token])
            text = mark
        self._recent.append(token)
        if likelihood is not None:
            self._tokens.add(token, text, likelihood)
        if not self.finished:
            self._text(text, news)

    def _text(self, text: str, news: "_News", *, extends: bool = False) -> None:
        if not text:
            return
        if extends:
            self._tokens.extend(text)
        certain = self._stop.push(text)
        stopped_by = self._stop.stopped_by
        if stopped_by is not None and self._shows_stop:
            certain += stopped_by
        self._pieces(self._form.parser.push(certain), news)
        if stopped_by is not None:
            self._pieces(self._form.parser.flush(), news)
            self._end(FinishReason.STOP, stopped_by, news)
        elif self._form.parser.finished:
            self._end(FinishReason.STOP, None, news)

    def _finish(self, event: Ended, news: "_News") -> None:
        self.end = event.end
        if event.end is not End.END_TOKEN:
            self._release(news)
        self._text(self._decoder.flush(), news, extends=True)
        held = self._held
        if held is not None and held.likelihood is not None:
            self._tokens.add(held.token, "", held.likelihood)
        if self.finished:
            return
        self._pieces(self._form.parser.push(self._stop.flush()), news)
        self._pieces(self._form.parser.flush(), news)
        if event.end is End.FAILED:
            self.finished, news.error = True, event.error
            return
        reason = FinishReason.LENGTH if event.end in _LIMITS else FinishReason.STOP
        self._end(reason, None if held is None else held.token, news)

    def _end(self, reason: FinishReason, stopped_by: str | int | None, news: "_News") -> None:
        self.finished, self.stopped_by = True, stopped_by
        news.tokens = (*news.tokens, *self._tokens.finish())
        natural = reason is FinishReason.STOP and not isinstance(stopped_by, str)
        called = natural and self._calls and not self._form.named
        news.finish = FinishReason.TOOL_CALLS if called else reason

    def _pieces(self, pieces: Sequence[Piece], news: "_News") -> None:
        for piece in pieces:
            if piece.channel is Channel.REASONING:
                self.reasoning_tokens = self.completion_tokens
                news.reasoning += piece.raw
            elif piece.channel is Channel.CONTENT:
                news.content += piece.raw
            if piece.calls:
                news.calls += piece.calls
                self._calls = True
            if not self._tokens.empty:
                found = self._tokens.take(piece.raw, piece.channel)
                news.tokens = (*news.tokens, *found)


@dataclass(slots=True)
class _News:
    """What a delta will have."""

    ids: list[int]
    content: str = ""
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()
    tokens: tuple[tuple[Channel, AnswerToken], ...] = ()
    finish: FinishReason | None = None
    error: SalaError | None = None

    def delta(self) -> AnswerDelta:
        """All of it."""
        tokens: tuple[AnswerToken, ...] = ()
        thought: tuple[AnswerToken, ...] = ()
        if self.tokens:
            thought = tuple(t for channel, t in self.tokens if channel is Channel.REASONING)
            tokens = tuple(t for channel, t in self.tokens if channel is not Channel.REASONING)
        return AnswerDelta(
            content=self.content,
            reasoning=self.reasoning,
            calls=self.calls,
            tokens=tokens,
            reasoning_tokens=thought,
            token_ids=tuple(self.ids),
            finish=self.finish,
            error=self.error,
        )
