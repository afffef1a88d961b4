"""A part of an answer's text, and what it is to the client."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Channel(Enum):
    """Where a part of the text goes."""

    CONTENT = "content"
    REASONING = "reasoning"
    CALLS = "calls"  # the text of calls; what clients get of it are the pieces' calls
    SYNTAX = "syntax"  # marks between the others, which nobody gets


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of the call of a tool: the first one of a call has its id and name."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the text, in the order of the text: all `raw` joined are the text."""

    channel: Channel
    raw: str
    calls: tuple[CallDelta, ...] = ()


class AnswerParser(Protocol):
    """Divides the text of one answer, in whatever pieces it arrives.

    How the text was split never changes what comes out, joined.
    """

    @property
    def finished(self) -> bool:
        """Whether the answer is over, whatever text might follow."""
        ...

    def push(self, text: str) -> Sequence[Piece]:
        """What is certain with `text` more."""
        ...

    def flush(self) -> Sequence[Piece]:
        """The rest, at the end of the text."""
        ...


class PlainText:
    """An answer that is content and nothing else."""

    finished = False

    def push(self, text: str) -> Sequence[Piece]:
        """The text as it is."""
        return [Piece(Channel.CONTENT, text)] if text else []

    def flush(self) -> Sequence[Piece]:
        """Nothing is ever held back."""
        return []


def held_back(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of `text` that begins one of `marks` without being one."""
    longest = max((len(mark) for mark in marks), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(mark.startswith(text[-length:]) for mark in marks):
            return length
    return 0
