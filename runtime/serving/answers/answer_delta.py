"""What became certain of an answer since the last time."""

from dataclasses import dataclass
from enum import StrEnum

from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.serving.tools.piece import CallDelta


class FinishReason(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"  # by itself, by a stop string, by a complete grammar, after a named call
    LENGTH = "length"  # max_tokens, the context, a deadline, a server that ends
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True)
class TopToken:
    """One of the likeliest tokens at a place: its text alone, `\\xf0` for a part of a character."""

    id: int
    text: str
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A token of a text.

    `text` is what it added to the text, empty for a part of a character that a later token
    completes; `data` are its bytes. Joined over all tokens, both are the text. `logprob` is None
    for the first token of a prompt. `offset` is the place of `text` in the whole, in characters.
    """

    id: int
    text: str
    data: bytes
    logprob: float | None
    top: tuple[TopToken, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """News of an answer, in the order: reasoning, content, calls. False if there are none.

    `tokens` are those of content and calls, `reasoning_tokens` those of the reasoning; both empty
    unless log probabilities were requested. `token_ids` are new tokens, whether or not their text
    is certain. One delta of an answer, the last, has `finish` or, if the engine failed, `error`.
    """

    content: str = ""
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()
    tokens: tuple[AnswerToken, ...] = ()
    reasoning_tokens: tuple[AnswerToken, ...] = ()
    token_ids: tuple[int, ...] = ()
    finish: FinishReason | None = None
    error: SalaError | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to send, besides ids."""
        texts = self.content or self.reasoning or self.calls
        tokens = self.tokens or self.reasoning_tokens
        return bool(texts or tokens or self.finish or self.error)
