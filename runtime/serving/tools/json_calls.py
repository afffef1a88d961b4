"""Calls as JSON: an object with a name and arguments, one or a list of them."""

import json
from collections.abc import Sequence
from enum import Enum, auto

from sala_compile.runtime.serving.tools.call_body import CallFailure, CallIds
from sala_compile.runtime.serving.tools.json_scanner import JsonScanner
from sala_compile.runtime.serving.tools.piece import CallDelta

_SPACE = " \t\r\n"
_ARGUMENTS = ("arguments", "parameters")


class _Place(Enum):
    BEFORE = auto()  # a call, or the end of all
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    AFTER_VALUE = auto()


class JsonCalls:
    """Reads `{"name": ..., "arguments": ...}`, several after each other or in a list.

    Names and arguments may come in either order; other fields are skipped. Arguments are passed on
    as they are written, as soon as the name is known.
    """

    def __init__(self, ids: CallIds, closing: str = "", names: Sequence[str] | None = None) -> None:
        """Until the text `closing`, or else the end of the first value.

        With `names`, an object with another name is no call.
        """
        self._ids = ids
        self._closing = closing
        self._names = names
        self._place = _Place.BEFORE
        self._listed = False
        self._end = ""  # of the closing mark, what has come
        self._scanner = JsonScanner()
        self._key = ""
        self._value: str = ""  # of a field, where it is not passed on
        self._first = ""  # character of the value
        self._name: str | None = None
        self._waiting = ""  # arguments before the name
        self._argued = False
        self._given = False
        self._failed = False
        self.done = False

    def push(self, text: str) -> tuple[int, Sequence[CallDelta]]:
        """Reads up to the end of the calls."""
        found: list[CallDelta] = []
        place = 0
        try:
            while place < len(text) and not self.done:
                place += self._step(text, place, found)
                self._expect(not self._failed)
        except CallFailure:
            if not self._given:
                raise
            self.done = True  # what was given stays; the rest is no call
        return place, found

    def _step(self, text: str, place: int, found: list[CallDelta]) -> int:
        """Read some characters at `place`; how many."""
        if self._place is _Place.VALUE or self._place is _Place.KEY:
            return self._value_step(text[place:], found)
        character = text[place]
        if character in _SPACE and not self._end:
            return 1
        if self._place is _Place.BEFORE:
            self._before(character)
        elif self._place is _Place.COLON:
            self._expect(character == ":")
            self._place = _Place.VALUE
        elif character == "}":
            self._close(found)
        else:
            self._expect(character == ",")
            self._place = _Place.KEY
        return 1

    def _before(self, character: str) -> None:
        """A character between calls."""
        if self._end or (self._closing.startswith(character) and not self._is_call(character)):
            self._end += character
            self._expect(self._closing.startswith(self._end))
            self.done = self._end == self._closing
        elif character == "{":
            self._place, self._name, self._waiting, self._argued = _Place.KEY, None, "", False
        elif character == "[" and not self._listed:
            self._listed = True
        elif character == "]" and self._listed:
            self._listed = False
            self.done = not self._closing
        else:
            self._expect(character in ",;")

    def _is_call(self, character: str) -> bool:
        return character in "{[" and not self._end

    def _value_step(self, text: str, found: list[CallDelta]) -> int:
        """Read a key or a value, as far as `text` has it."""
        if self._place is _Place.KEY and not self._value and text[0] in _SPACE + "}":
            if text[0] == "}":
                self._close(found)
            return 1
        self._expect(self._place is _Place.VALUE or bool(self._value) or text[0] == '"')
        count = self._scanner.take(text)
        part = text[:count]
        self._first = self._first or part.lstrip(_SPACE)[:1]
        if self._place is _Place.VALUE and self._key in _ARGUMENTS and self._first != '"':
            self._argue(part, found)
        else:
            self._value += part
        if self._scanner.done:
            try:
                self._finish_value(found)
            except CallFailure:  # a value that is wrong is read to its end, however it arrived
                self._failed = True
        return count

    def _finish_value(self, found: list[CallDelta]) -> None:
        value, self._value, self._scanner = self._value.strip(_SPACE), "", JsonScanner()
        first, self._first = self._first, ""
        if self._place is _Place.KEY:
            self._key = self._text(value)
            self._place = _Place.COLON
            return
        if self._key == "name":
            self._call(self._text(value), found)
        elif self._key in _ARGUMENTS and first == '"':
            self._argue(self._text(value), found)
        self._place = _Place.AFTER_VALUE

    def _text(self, value: str) -> str:
        try:
            text = json.loads(value)
        except ValueError:
            text = None
        self._expect(isinstance(text, str))
        return str(text)

    def _call(self, name: str, found: list[CallDelta]) -> None:
        self._expect(self._name is None and (self._names is None or name in self._names))
        self._name, self._given = name, True
        found.append(self._ids.first(name, self._waiting))

    def _argue(self, text: str, found: list[CallDelta]) -> None:
        """More of the arguments."""
        text = text if self._argued else text.lstrip(_SPACE)
        self._argued = self._argued or bool(text)
        if self._name is None:
            self._waiting += text
        elif text:
            found.append(self._ids.more(text))

    def _close(self, found: list[CallDelta]) -> None:
        """The end of one call."""
        self._expect(self._name is not None)
        if not self._argued:
            found.append(self._ids.more("{}"))
        self._place = _Place.BEFORE
        self.done = not (self._closing or self._listed)

    def _expect(self, holds: bool) -> None:
        if not holds:
            raise CallFailure
