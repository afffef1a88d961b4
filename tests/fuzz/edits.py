"""Edits applied: from the valid files to the damaged ones."""

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.fuzz.case import Edit, Literal, Place

TWICE = "\x00twice\x00"
"""Begins a key that is written without it: the second time that an object has the key."""
_WRITTEN_TWICE = json.dumps(TWICE)[1:-1]


def apply(files: Mapping[str, bytes], edits: Iterable[Edit]) -> dict[str, bytes | None]:
    """The files that the edits change, in their new form; None for one that is gone.

    An edit at a place that no longer exists changes nothing.
    """
    changed: dict[str, bytes | None] = {}
    documents: dict[str, Any] = {}
    for edit in edits:
        if edit.action in DOCUMENT_ACTIONS:
            if edit.file not in documents:
                documents[edit.file] = json.loads(changed.get(edit.file) or files[edit.file])
            documents[edit.file] = changed_document(documents[edit.file], edit)
            continue
        if edit.file in documents:
            changed[edit.file] = render(documents.pop(edit.file))
        data = changed[edit.file] if edit.file in changed else files.get(edit.file, b"")
        changed[edit.file] = _changed_bytes(data or b"", edit)
    return changed | {name: render(document) for name, document in documents.items()}


DOCUMENT_ACTIONS = frozenset({"set", "insert", "delete", "rename", "twice"})


def changed_document(document: Any, edit: Edit) -> Any:
    """The document after an edit; its own objects are changed in place."""
    value = copy.deepcopy(edit.value)
    if not edit.at:
        return value if edit.action == "set" else document
    parent = at(document, edit.at[:-1])
    key = edit.at[-1]
    if isinstance(parent, dict) and isinstance(key, str):
        _change_object(parent, edit.action, key, value)
    elif isinstance(parent, list) and isinstance(key, int):
        _change_list(parent, edit.action, key, value)
    return document


def at(document: Any, place: Place) -> Any:
    """What stands at a place; None where there is none."""
    for key in place:
        inside = isinstance(document, dict) and key in document
        inside |= isinstance(document, list) and isinstance(key, int) and key < len(document)
        if not inside:
            return None
        document = document[key]  # type: ignore[index]
    return document


def render(document: Any) -> bytes:
    """The text of a document: NaN and infinities as Python spells them, literals as they are."""
    literals: list[Literal] = []

    def placeholder(value: Any) -> str:
        literals.append(value)
        return f"\x00literal {len(literals) - 1}\x00"

    text = json.dumps(document, default=placeholder).replace(_WRITTEN_TWICE, "")
    for index, literal in enumerate(literals):
        text = text.replace(json.dumps(f"\x00literal {index}\x00"), literal.text)
    return text.encode("utf-8", "surrogatepass")


def _change_object(parent: dict[str, Any], action: str, key: str, value: Any) -> None:
    if action in ("set", "insert"):
        parent[key] = value
    elif action == "twice":
        parent[TWICE + key] = value
    elif key in parent:
        moved = parent.pop(key)
        if action == "rename":
            parent[value] = moved


def _change_list(parent: list[Any], action: str, index: int, value: Any) -> None:
    if action == "insert":
        parent.insert(index, value)
    elif index < len(parent) and action == "set":
        parent[index] = value
    elif index < len(parent) and action == "delete":
        del parent[index]


def _changed_bytes(data: bytes, edit: Edit) -> bytes | None:
    if edit.action == "remove":
        return None
    if edit.action == "text":
        return edit.value.text.encode() if isinstance(edit.value, Literal) else edit.value
    begin, end = (min(int(place), len(data)) for place in edit.at)
    middle = bytes([edit.value]) * (end - begin) if edit.action == "fill" else edit.value
    return data[:begin] + middle + data[end:]
