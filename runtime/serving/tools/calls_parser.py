"""Finds calls of tools in the text of an answer."""

from collections.abc import Callable, Sequence

from sala_compile.runtime.serving.tools.call_body import CallBody, CallFailure, CallIds
from sala_compile.runtime.serving.tools.piece import CallDelta, Channel, Piece, held_back

_SPACE = " \t\r\n"


class CallsParser:
    """Divides an answer into content and calls.

    A call begins with `opening`; if that is empty, with `{` where the answer begins or after
    another call. Space around calls is part of nothing. What turns out to be no call is content.
    """

    def __init__(
        self,
        opening: str,
        body: Callable[[CallIds], CallBody],
        *,
        parallel: bool = True,
        required: bool = False,
    ) -> None:
        """With a new `body` for the text after each opening; unless `parallel`, for one call.

        If `required`, an answer is calls alone: the beginning of one is no content.
        """
        self._opening = opening
        self._make = body
        self._parallel = parallel
        self._required = required
        self._ids = CallIds()
        self._space_around = _SPACE if opening else _SPACE + ";,"
        self._held: str = (
            ""  # content that may be space before a call, or the beginning of an opening
        )
        self._body: CallBody | None = None
        self._before: str = ""  # space before a call that is not certain yet
        self._raw: str = ""  # text of a call that no piece has yet
        self._given = False
        self._starts = True  # there is no content since the beginning or the last call
        self._called = False
        self.finished = False

    def push(self, text: str) -> Sequence[Piece]:
        """What is certain with `text` more."""
        found: list[Piece] = []
        while text and not self.finished:
            text = self._outside(text, found) if self._body is None else self._inside(text, found)
        return found

    def flush(self) -> Sequence[Piece]:
        """What was held back: content, unless it is part of a call or space after one."""
        rest, called = self._before + self._raw + self._held, self._called and self._starts
        certain = self._body is not None and self._given
        self._before = self._raw = self._held = ""
        self._body = None
        begins = called and self._opening.startswith(rest.strip(self._space_around))
        spare = begins or self._required
        channel = Channel.CALLS if certain else Channel.SYNTAX if spare else Channel.CONTENT
        return [Piece(channel, rest)] if rest else []

    def _outside(self, text: str, found: list[Piece]) -> str:
        """Content up to the next opening; the text after that."""
        text, self._held = self._held + text, ""
        if self._called and self._starts:
            begun = text.lstrip(self._space_around)
            _add(found, Channel.SYNTAX, text[: len(text) - len(begun)])
            text = begun
        place = self._place(text)
        if place is None:
            certain = len(text) - self._waits(text)
            self._held = text[certain:]
            self._content(text[:certain], found)
            return ""
        before = text[:place].rstrip(self._space_around)
        self._content(before, found)
        self._before, self._raw = text[len(before) : place], self._opening
        self._body, self._given = self._make(self._ids), False
        return text[place + len(self._opening) :]

    def _place(self, text: str) -> int | None:
        """Where a call begins in `text`."""
        if self._opening:
            place = text.find(self._opening)
            return None if place < 0 else place
        begun = text.lstrip(_SPACE)
        return len(text) - len(begun) if self._starts and begun.startswith("{") else None

    def _waits(self, text: str) -> int:
        """How much of the end of `text` may be space before a call, or begin an opening."""
        kept = held_back(text, (self._opening,)) if self._opening else 0
        before = text[: len(text) - kept]
        content = before.rstrip(_SPACE)
        if not self._opening and not (self._starts and not content):
            return 0
        return len(text) - len(content)

    def _inside(self, text: str, found: list[Piece]) -> str:
        """A part of a call; the text after it."""
        assert self._body is not None
        try:
            count, deltas = self._body.push(text)
            done = self._body.done
            if done and not (deltas or self._given):
                raise CallFailure
        except CallFailure:
            return self._fail(text, found)
        self._raw += text[:count]
        if deltas or (self._given and done):
            self._call(deltas, found)
        if done:
            self._body, self._starts, self._called = None, True, True
            self.finished = not self._parallel
        return text[count:]

    def _fail(self, text: str, found: list[Piece]) -> str:
        """Make the opening, at least, content; the text after it may have a call again."""
        inner = self._raw[len(self._opening) :] + text
        first = self._opening or inner[:1]
        self._content(self._before + first, found)
        self._body, self._before, self._raw = None, "", ""
        return inner if self._opening else inner[1:]

    def _call(self, deltas: Sequence[CallDelta], found: list[Piece]) -> None:
        """A piece of a call, with all of its text that has come."""
        _add(found, Channel.SYNTAX, self._before)
        found.append(Piece(Channel.CALLS, self._raw, tuple(deltas)))
        self._before = self._raw = ""
        self._given = True

    def _content(self, text: str, found: list[Piece]) -> None:
        self._starts = self._starts and not text
        _add(found, Channel.CONTENT, text)


def _add(found: list[Piece], channel: Channel, text: str) -> None:
    if text:
        found.append(Piece(channel, text))
