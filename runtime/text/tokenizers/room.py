"""Whether a text can fit at all, found out without turning all of a long one into tokens."""

from collections.abc import Callable, Iterator

from sala_compile.runtime.errors import RequestError

USUAL = 8
"""Characters of a token that a long text seldom exceeds: only then it is looked at in pieces."""
PIECE = 1 << 18
"""Characters of a piece; the library takes some 60 bytes for each."""
SEAM = 16
"""Tokens that a piece may have because it was cut off."""


def require_room(text: str, room: int, count: Callable[[str], int]) -> None:
    """Raise RequestError if `text` certainly has more than `room` tokens.

    `count` returns the number of tokens of a text. A text of at most `USUAL * room` characters
    passes unread.
    """
    if len(text) <= max(PIECE, USUAL * room):
        return
    tokens = 0
    for piece, read in _pieces(text):
        tokens += max(0, count(piece) - SEAM)
        if tokens > room:
            raise RequestError(
                f"the text of {len(text)} characters does not fit: its first {read} alone are more "
                f"than {room} tokens",
                expected=f"at most {room} tokens",
                fix="give a shorter text, or load with a larger context",
            )


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """Pieces that end after white space where there is some, and how far they reach."""
    start = 0
    while start < len(text):
        stop = min(start + PIECE, len(text))
        space = max(text.rfind(" ", start, stop), text.rfind("\n", start, stop))
        stop = space + 1 if space > start and stop < len(text) else stop
        yield text[start:stop], stop
        start = stop
