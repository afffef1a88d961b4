"""Calls as Python writes them: `name(argument=value)`, one or a list of them."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from sala_compile.runtime.serving.tools.call_body import CallFailure, CallIds
from sala_compile.runtime.serving.tools.piece import CallDelta

_NAME = re.compile(r"[A-Za-z_][\w.]*\Z")
_BETWEEN = " \t\r\n,[;"
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_CONSTANTS = {"true": True, "false": False, "null": None}


class PythonicCalls:
    """Reads calls up to a closing mark. The name comes first, the arguments when they are whole."""

    def __init__(self, ids: CallIds, closing: str, fence: str = "") -> None:
        """Until `closing`; lines that begin with `fence` are around the calls."""
        self._ids = ids
        self._closing = closing
        self._fence = fence
        self._name = ""
        self._arguments = ""
        self._open: list[str] = []
        self._quote = ""
        self._escaped = False
        self._tail = ""  # of the mark or fence after calls, what has come
        self._given = False
        self.done = False

    def push(self, text: str) -> tuple[int, Sequence[CallDelta]]:
        """Reads up to the end of the calls."""
        found: list[CallDelta] = []
        place = 0
        try:
            while place < len(text) and not self.done:
                self._step(text[place], found)
                place += 1
        except CallFailure:
            if not self._given:
                raise
            self.done = True
        return place, found

    def _step(self, character: str, found: list[CallDelta]) -> None:
        if self._open:
            self._argument(character, found)
        elif self._tail or (not self._name and self._begins_mark(character)):
            self._mark(character)
        elif character == "(":
            if not _NAME.match(self._name):
                raise CallFailure
            found.append(self._ids.first(self._name))
            self._given, self._arguments = True, ""
            self._open.append(")")
        elif not self._name and character in _BETWEEN + "]":
            return
        else:
            self._name += character
            if not _NAME.match(self._name):
                raise CallFailure

    def _begins_mark(self, character: str) -> bool:
        return self._closing.startswith(character) or self._fence[:1] == character

    def _mark(self, character: str) -> None:
        """A character of the closing mark, or of the line of a fence."""
        self._tail += character
        if self._fence and self._tail.startswith(self._fence):
            if character == "\n":
                self._tail = ""
            elif self._tail.endswith(self._closing):
                self.done = True
        elif self._tail == self._closing:
            self.done = True
        elif not (self._closing.startswith(self._tail) or self._fence.startswith(self._tail)):
            raise CallFailure

    def _argument(self, character: str, found: list[CallDelta]) -> None:
        """A character between the parentheses of a call, or the last of them."""
        if self._quote:
            ends = character == self._quote and not self._escaped
            self._escaped = character == "\\" and not self._escaped
            self._quote = "" if ends else self._quote
        elif character in "\"'":
            self._quote = character
        elif character in _PAIRS:
            self._open.append(_PAIRS[character])
        elif character == self._open[-1]:
            self._open.pop()
        if self._open:
            self._arguments += character
        else:
            found.append(self._ids.more(self._json()))
            self._name = ""

    def _json(self) -> str:
        """The arguments as a JSON object; CallFailure if they are not named literals."""
        try:
            call = ast.parse(f"f({self._arguments})", mode="eval").body
            if not isinstance(call, ast.Call) or call.args:
                raise CallFailure
            values = {str(each.arg): _literal(each.value) for each in call.keywords}
            return json.dumps(values, ensure_ascii=False)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            raise CallFailure from None


def _literal(node: ast.expr) -> Any:
    """The value of a literal, in which names of JSON are allowed as well."""
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key is not None]
        return dict(zip(map(str, keys), map(_literal, node.values), strict=True))
    return ast.literal_eval(node)
