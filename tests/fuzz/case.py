"""A case: valid files, and the edits that damage them. It is small, readable, and kept as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Place = tuple[str | int, ...]
"""Keys and indices from the root of a JSON document to a value in it."""


@dataclass(frozen=True, slots=True)
class Literal:
    """JSON text that no Python value stands for.

    It is `head`, `unit` and `closing` `count` times each, and `tail`.

    Numbers of thousands of digits, nesting without end, long strings, and what is no JSON at all.
    """

    head: str = ""
    unit: str = ""
    count: int = 1
    closing: str = ""
    tail: str = ""

    @property
    def text(self) -> str:
        """What stands in the file."""
        return self.head + self.unit * self.count + self.closing * self.count + self.tail


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the file `file`.

    Of a JSON document, at `at`: `set`, `insert` (before), `delete`, `rename` (a key), `twice` (the
    key once more). Of bytes, `at` is [begin, end): `splice` and `fill` (with the byte `value`).
    Of the whole file: `text`, `remove`.
    """

    file: str
    action: str
    at: Place = ()
    value: Any = None

    def __str__(self) -> str:
        """The edit in a line."""
        place = ".".join(str(key)[:40] for key in self.at)
        shown = repr(self.value)
        shown = shown if len(shown) <= 200 else f"{shown[:200]}... ({len(shown)} characters)"
        return f"{self.file}: {self.action} {place} {shown}"


@dataclass(frozen=True, slots=True)
class Case:
    """Edits of the files that `base` names, and what a target chose beside them."""

    base: str
    edits: tuple[Edit, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Base, options and edits, one a line."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return "\n".join([f"{self.base} ({options})", *(f"  {edit}" for edit in self.edits)])


def to_json(case: Case) -> str:
    """The case as a document of the corpus."""
    edits = [
        {"file": e.file, "action": e.action, "at": list(e.at), "value": _encoded(e.value)}
        for e in case.edits
    ]
    document = {"base": case.base, "options": dict(case.options), "edits": edits}
    return json.dumps(document, indent=1) + "\n"


def from_json(text: str) -> Case:
    """A case of the corpus."""
    document = json.loads(text)
    edits = tuple(
        Edit(e["file"], e["action"], tuple(e["at"]), _decoded(e["value"]))
        for e in document["edits"]
    )
    return Case(document["base"], edits, document["options"])


def _encoded(value: Any) -> Any:
    match value:
        case Literal():
            parts = [value.head, value.unit, value.count, value.closing, value.tail]
            return {"$literal": parts}
        case bytes():
            return {"$bytes": value.hex()}
        case dict():
            return {key: _encoded(each) for key, each in value.items()}
        case list() | tuple():
            return [_encoded(each) for each in value]
    return value


def _decoded(value: Any) -> Any:
    match value:
        case {"$literal": [head, unit, count, closing, tail]}:
            return Literal(head, unit, count, closing, tail)
        case {"$bytes": text}:
            return bytes.fromhex(text)
        case dict():
            return {key: _decoded(each) for key, each in value.items()}
        case list():
            return [_decoded(each) for each in value]
    return value
