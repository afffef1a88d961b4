"""Calls as tags: one for the function, one for each argument."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sala_compile.runtime.common.json_text import is_list, is_object
from sala_compile.runtime.serving.tools.call_body import CallFailure, CallIds
from sala_compile.runtime.serving.tools.piece import CallDelta, held_back
from sala_compile.runtime.serving.tools.tool_definitions import ToolUse

_DATA, _DATA_END = "<![CDATA[", "]]>"
_LONGEST_TAG = 300


@dataclass(frozen=True, slots=True)
class TagSyntax:
    """How tags are written.

    `function` and `argument` are expressions of the opening tags, whose group is a name, from their
    first character on. With `lines`, a value is between two line ends that are not part of it.
    """

    function: re.Pattern[str]
    function_end: str
    argument: re.Pattern[str]
    argument_end: str
    closing: str = ""
    lines: bool = False


class TaggedCalls:
    """Reads tags; gives JSON. Texts are passed on as they come, other values when they are whole.

    The type of a value is that of the tool's schema. A value that is not of it is given as text.
    """

    def __init__(self, ids: CallIds, syntax: TagSyntax, use: ToolUse) -> None:
        self._ids = ids
        self._syntax = syntax
        self._use = use
        self._read: Callable[[list[CallDelta]], bool] = self._function
        self._text = ""  # not read yet
        self._schema: dict[str, Any] = {}
        self._count = 0  # arguments of the call
        self._given = False
        self._name = ""  # of the argument
        self._value = ""
        self._streams = False
        self._begun = False  # of the value
        self._data = False  # the value is in CDATA
        self.done = False

    def push(self, text: str) -> tuple[int, Sequence[CallDelta]]:
        """Reads up to the end of the calls."""
        found: list[CallDelta] = []
        self._text += text
        try:
            while not self.done and self._read(found):
                pass
        except CallFailure:
            if not self._given:
                raise
            self.done = True
        rest = len(self._text) if self.done else 0
        return max(len(text) - rest, 0), found

    def _function(self, found: list[CallDelta]) -> bool:
        """The opening tag of a function, or the end of all."""
        self._text = self._text.lstrip()
        closing = self._syntax.closing
        if closing and self._text.startswith(closing):
            self._text, self.done = self._text[len(closing) :], True
            return False
        name = self._tag(self._syntax.function, closing)
        if name is None:
            return False
        tool = self._use.tool(name)
        self._schema = {} if tool is None else tool.schema
        self._count, self._given = 0, True
        found.append(self._ids.first(name))
        self._read = self._argument
        return True

    def _argument(self, found: list[CallDelta]) -> bool:
        """The opening tag of an argument, or the end of the function."""
        self._text = self._text.lstrip()
        end = self._syntax.function_end
        if self._text.startswith(end):
            self._text = self._text[len(end) :]
            found.append(self._ids.more("}" if self._count else "{}"))
            self._read = self._function
            self.done = not self._syntax.closing
            return True
        name = self._tag(self._syntax.argument, end)
        if name is None:
            return False
        opening = ", " if self._count else "{"
        found.append(self._ids.more(f"{opening}{json.dumps(name, ensure_ascii=False)}: "))
        self._count += 1
        self._streams = _types(self._schema, name) == {"string"}
        self._name = name
        self._value, self._begun, self._data = "", False, False
        self._read = self._value_text
        return True

    def _tag(self, tag: re.Pattern[str], other: str) -> str | None:
        """The name in an opening tag; None if more text may make one, or the mark `other`."""
        match = tag.match(self._text)
        if match is not None and match.end() <= _LONGEST_TAG:
            self._text = self._text[match.end() :]
            return next(group for group in match.groups() if group is not None)
        begins = other.startswith(self._text) or ">" not in self._text
        if not begins or len(self._text) > _LONGEST_TAG:
            place = self._text.find(">")
            self._text = self._text[place if 0 <= place < _LONGEST_TAG else _LONGEST_TAG :]
            raise CallFailure
        return None

    def _value_text(self, found: list[CallDelta]) -> bool:
        """A part of a value, or its end."""
        if not self._begun and not self._begin():
            return False
        end = self._syntax.argument_end
        marks = (f"\n{end}", end) if self._syntax.lines else (_DATA_END if self._data else end,)
        places = [(self._text.find(each), each) for each in marks if each in self._text]
        if not places:
            certain = len(self._text) - held_back(self._text, marks)
            part, self._text = self._text[:certain], self._text[certain:]
            self._pass(part, found)
            return False
        place, mark = min(places)
        part, self._text = self._text[:place], self._text[place + len(mark) :]
        self._pass(part, found)
        if self._data:
            self._read = self._data_end
        else:
            self._finish_value(found)
        return True

    def _begin(self) -> bool:
        """What is before the characters of a value; False if that is not decided yet."""
        if self._syntax.lines:
            if not self._text:
                return False
            self._text = self._text.removeprefix("\n")
        elif self._text != _DATA and _DATA.startswith(self._text):
            return False
        elif self._text.startswith(_DATA):
            self._text, self._data = self._text[len(_DATA) :], True
        self._begun = True
        if self._streams:
            self._value = '"'
        return True

    def _data_end(self, found: list[CallDelta]) -> bool:
        """The tag after CDATA."""
        self._text = self._text.lstrip()
        end = self._syntax.argument_end
        if not self._text.startswith(end):
            if end.startswith(self._text):
                return False
            self._text = self._text[_common(self._text, end) :]
            raise CallFailure
        self._text = self._text[len(end) :]
        self._finish_value(found)
        return True

    def _pass(self, part: str, found: list[CallDelta]) -> None:
        """More characters of a value."""
        if not self._streams:
            self._value += part
            return
        opening, self._value = self._value, ""
        text = opening + json.dumps(part, ensure_ascii=False)[1:-1]
        if text:
            found.append(self._ids.more(text))

    def _finish_value(self, found: list[CallDelta]) -> None:
        if self._streams:
            found.append(self._ids.more(self._value + '"'))
        else:
            found.append(self._ids.more(_typed(self._value, _types(self._schema, self._name))))
        self._read = self._argument


def _types(schema: dict[str, Any], name: str) -> set[str]:
    """The JSON types that an argument may have; empty if the schema does not say."""
    properties = schema.get("properties")
    return _types_of(properties.get(name) if is_object(properties) else None)


def _types_of(schema: Any) -> set[str]:
    if not is_object(schema):
        return set()
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if is_list(kind):
        return {each for each in kind if isinstance(each, str)}
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if is_list(values) and values:
        return {_type(value) for value in values}
    several = schema.get("anyOf", schema.get("oneOf"))
    return {kind for each in several for kind in _types_of(each)} if is_list(several) else set()


def _typed(text: str, types: set[str]) -> str:
    """The JSON of a value that is written without quotes if it is a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    kind = _type(value)
    fits = not types or kind in types or (kind == "integer" and "number" in types)
    return json.dumps(value if fits else text, ensure_ascii=False)


def _type(value: Any) -> str:
    kinds: dict[type, str] = {
        **{bool: "boolean", int: "integer", float: "number", str: "string", list: "array"},
        **{dict: "object", type(None): "null"},
    }
    return kinds[type(value)]


def _common(one: str, other: str) -> int:
    """Length of the beginning that two texts share."""
    lengths = range(min(len(one), len(other)) + 1)
    return max(length for length in lengths if one[:length] == other[:length])
