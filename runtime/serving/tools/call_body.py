"""What a format knows of the text between the marks of a call."""

import secrets
from collections.abc import Sequence
from typing import Protocol

from sala_compile.runtime.serving.tools.piece import CallDelta


class CallFailure(Exception):
    """Text that is not a call, before anything of it was given."""


class CallBody(Protocol):
    """Reads the text after the opening mark of one or several calls."""

    done: bool
    """Whether the calls have ended, closing mark included."""

    def push(self, text: str) -> tuple[int, Sequence[CallDelta]]:
        """How much of `text` belongs to the calls, and what it says.

        CallFailure if the text is no call and no delta was given yet.
        """
        ...


class CallIds:
    """Index and id of each call of an answer."""

    def __init__(self) -> None:
        self._count = 0

    def first(self, name: str, arguments: str = "") -> CallDelta:
        """The first delta of the next call."""
        self._count += 1
        return CallDelta(self._count - 1, f"call_{secrets.token_hex(12)}", name, arguments)

    def more(self, arguments: str) -> CallDelta:
        """A later delta of the last call."""
        return CallDelta(self._count - 1, arguments=arguments)
