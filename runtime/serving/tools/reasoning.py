"""Finds the reasoning at the beginning of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from sala_compile.runtime.serving.tools.piece import AnswerParser, Channel, Piece, held_back

_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class ReasoningMarks:
    """What is around the reasoning of a model."""

    opening: str
    closing: str


MARKS = (
    ReasoningMarks("<think>", "</think>"),
    ReasoningMarks("[THINK]", "[/THINK]"),
    ReasoningMarks("<|thought_start|>", "<|thought_end|>"),
)
"""Those of published models."""


class _Place(Enum):
    BEFORE = auto()
    BEGINNING = auto()
    INSIDE = auto()
    GAP = auto()  # space after the reasoning
    AFTER = auto()


class ReasoningParser:
    """Divides an answer into its reasoning and what another parser divides.

    The marks and the space next to them belong to nothing. An answer that does not begin with the
    opening mark, nor continues an open reasoning, has none.
    """

    def __init__(self, marks: ReasoningMarks, after: AnswerParser, *, inside: bool) -> None:
        """`inside` if the prompt ends with the opening mark."""
        self._marks = marks
        self._after = after
        self._place = _Place.BEGINNING if inside else _Place.BEFORE
        self._held: str = ""

    @property
    def finished(self) -> bool:
        """Whether the rest is over."""
        return self._after.finished

    def push(self, text: str) -> Sequence[Piece]:
        """What is certain with `text` more."""
        found: list[Piece] = []
        text, self._held = self._held + text, ""
        steps = {
            _Place.BEFORE: self._before,
            _Place.BEGINNING: self._gap,
            _Place.INSIDE: self._inside,
            _Place.GAP: self._gap,
        }
        while text and self._place is not _Place.AFTER:
            text = steps[self._place](text, found)
        if text:
            found += self._after.push(text)
        return found

    def flush(self) -> Sequence[Piece]:
        """What was held back."""
        rest, self._held = self._held, ""
        if self._place is _Place.INSIDE:
            return [Piece(Channel.REASONING, rest)] if rest else []
        return [*(self._after.push(rest) if rest else ()), *self._after.flush()]

    def _before(self, text: str, found: list[Piece]) -> str:
        begun, mark = text.lstrip(_SPACE), self._marks.opening
        if begun.startswith(mark):
            found.append(Piece(Channel.SYNTAX, text[: len(text) - len(begun) + len(mark)]))
            self._place = _Place.BEGINNING
            return begun[len(mark) :]
        if mark.startswith(begun):
            self._held = text
            return ""
        self._place = _Place.AFTER
        return text

    def _gap(self, text: str, found: list[Piece]) -> str:
        begun = text.lstrip(_SPACE)
        if len(begun) < len(text):
            found.append(Piece(Channel.SYNTAX, text[: len(text) - len(begun)]))
        if begun:
            inside = self._place is _Place.BEGINNING
            self._place = _Place.INSIDE if inside else _Place.AFTER
        return begun

    def _inside(self, text: str, found: list[Piece]) -> str:
        mark = self._marks.closing
        place = text.find(mark)
        end = len(text) - held_back(text, (mark,)) if place < 0 else place
        certain = len(text[:end].rstrip(_SPACE))
        if certain:
            found.append(Piece(Channel.REASONING, text[:certain]))
        if place < 0:
            self._held = text[certain:]
            return ""
        found.append(Piece(Channel.SYNTAX, text[certain : place + len(mark)]))
        self._place = _Place.GAP
        return text[place + len(mark) :]
