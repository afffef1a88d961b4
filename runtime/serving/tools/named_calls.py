"""Calls as a name, a mark and the JSON of the arguments."""

from collections.abc import Sequence

from sala_compile.runtime.serving.tools.call_body import CallFailure, CallIds
from sala_compile.runtime.serving.tools.json_scanner import JsonScanner
from sala_compile.runtime.serving.tools.piece import CallDelta

_LONGEST_NAME = 200
_ID_MARK = "[CALL_ID]"
"""Some versions have the call's id between its name and the arguments."""


class NamedCall:
    """Reads `name[ARGS]{...}`: one call."""

    def __init__(self, ids: CallIds, mark: str) -> None:
        """With `mark` between the name and the arguments."""
        self._ids = ids
        self._mark = mark
        self._head = ""
        self._scanner = JsonScanner()
        self._given = False
        self._begun = False
        self.done = False

    def push(self, text: str) -> tuple[int, Sequence[CallDelta]]:
        """Reads up to the end of the arguments."""
        found: list[CallDelta] = []
        place = 0
        if not self._given:
            before = len(self._head)
            self._head += text
            name, mark, _ = self._head.partition(self._mark)
            if len(name) > _LONGEST_NAME or "\n" in name.lstrip():
                raise CallFailure
            if not mark:
                return len(text), found
            self._given = True
            place = max(len(name) + len(mark) - before, 0)
            found.append(self._ids.first(name.partition(_ID_MARK)[0].strip()))
        count = self._scanner.take(text[place:])
        part = text[place : place + count]
        part = part if self._begun else part.lstrip()
        self._begun = self._begun or bool(part)
        if part:
            found.append(self._ids.more(part))
        self.done = self._scanner.done
        return place + count, found
