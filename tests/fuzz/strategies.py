"""Hypothesis strategies: edits of bytes, and of JSON documents by their structure."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.case import Edit, Literal, Place
from tests.fuzz.edits import at, changed_document
from tests.fuzz.values import ANYTHING, INTEGERS, TEXTS, Draw, near


@st.composite
def places(draw: Draw, document: Any) -> Place:
    """A place in a document; nearer to the root a place has fewer rivals."""
    place: list[str | int] = []
    node = document
    while isinstance(node, dict | list) and node:
        if draw(st.integers(0, 31)) < (1 if not place else 6):
            break
        keys: Sequence[Any] = list(node) if isinstance(node, dict) else range(len(node))
        place.append(draw(st.sampled_from(keys)))
        node = at(node, (place[-1],))
    return tuple(place)


@st.composite
def document_edit(draw: Draw, file: str, document: Any, words: Sequence[Any] = ()) -> Edit:
    """One edit that keeps the file JSON, mostly."""
    place = draw(places(document))
    node = at(document, place)
    kind = draw(st.sampled_from(("near",) * 8 + ("any",) * 4 + ("moved",) * 2 + STRUCTURAL))
    if kind == "near":
        return Edit(file, "set", place, deepcopy(draw(near(node, words))))
    if kind == "any":
        return Edit(file, "set", place, draw(ANYTHING))
    if kind == "moved":
        return Edit(file, "set", place, _small(at(document, draw(places(document)))))
    if kind == "rename" and place and isinstance(place[-1], str):
        return Edit(file, "rename", place, draw(st.sampled_from(TEXTS)))
    if kind == "twice" and place and isinstance(place[-1], str):
        return Edit(file, "twice", place, draw(near(node, words)))
    if kind == "insert":
        return _inserted(draw, file, place, node, words)
    return Edit(file, "delete", place)


STRUCTURAL = ("delete", "delete", "rename", "twice", "insert", "insert")


def _inserted(draw: Draw, file: str, place: Place, node: Any, words: Sequence[Any]) -> Edit:
    if isinstance(node, dict):
        known = [word for word in words if isinstance(word, str)]
        key = draw(st.sampled_from([*known, *TEXTS]))
        return Edit(file, "insert", (*place, key), draw(ANYTHING))
    if isinstance(node, list):
        value = draw(st.one_of(ANYTHING, near(node[0] if node else 0, words)))
        return Edit(file, "insert", (*place, draw(st.integers(0, len(node)))), value)
    return Edit(file, "set", place, [node])


def _small(value: Any) -> Any:
    """A value, unless it is a large part of a large document."""
    return deepcopy(value) if len(json.dumps(value, default=str)) < 4000 else type(value)()


@st.composite
def document_edits(
    draw: Draw, file: str, data: bytes, words: Sequence[Any] = (), most: int = 4
) -> tuple[Edit, ...]:
    """A few edits of a JSON file, each of what the earlier ones left; seldom some of its bytes."""
    document, edits = json.loads(data), []
    for _ in range(min(draw(st.integers(1, most)), draw(st.integers(1, most)))):
        edit = draw(document_edit(file, document, words))
        edits.append(edit)
        document = changed_document(document, edit)
    if draw(st.integers(0, 19)) == 0:
        edits.append(draw(byte_edit(file, len(data))))
    return tuple(edits)


@st.composite
def byte_edit(draw: Draw, file: str, size: int, begin: int = 0) -> Edit:
    """One edit of the bytes from `begin` on."""
    first = draw(st.integers(begin, max(begin, size - 1)))
    kind = draw(st.sampled_from(("flip", "cut", "fill", "insert", "delete", "number")))
    length = draw(st.sampled_from((1, 2, 4, 8, 64, 1000)))
    if kind == "cut":
        return Edit(file, "splice", (first, size), b"")
    if kind == "fill":
        return Edit(
            file, "fill", (first, first + length), draw(st.sampled_from((0, 255, 127, 128)))
        )
    if kind == "delete":
        return Edit(file, "splice", (first, first + length), b"")
    if kind == "number":
        number = draw(st.sampled_from([n for n in INTEGERS if 0 <= n < 2**64]))
        return Edit(file, "splice", (first, first + 8), number.to_bytes(8, "little"))
    value = bytes(draw(st.integers(0, 255)) for _ in range(min(length, 8)))
    return Edit(file, "splice", (first, first + (len(value) if kind == "flip" else 0)), value)


@st.composite
def edits_of(
    draw: Draw,
    files: Mapping[str, bytes],
    words: Sequence[Any] = (),
    *,
    texts: Sequence[str] = (),
) -> tuple[Edit, ...]:
    """Edits of one or two of some JSON files; `texts` are of those that are no JSON."""
    edits: list[Edit] = []
    names = list(files)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        name = draw(st.sampled_from(names))
        if draw(st.integers(0, 59)) == 0:
            edits.append(draw(st.sampled_from(_whole_files(name))))
        elif name in texts:
            edits.append(draw(byte_edit(name, len(files[name]))))
        else:
            edits += draw(document_edits(name, files[name], words))
        names.remove(name)
        if not names:
            break
    return tuple(edits)


def _whole_files(name: str) -> tuple[Edit, ...]:
    contents: tuple[bytes | Literal, ...] = (b"", b"\x00", b"null", b"[]", b"{", b"\xff\xfe{}")
    contents += (b"\xef\xbb\xbf{}", Literal("", "[", 100_000, "]"), Literal("1", "0", 5_000))
    return (Edit(name, "remove"), *(Edit(name, "text", (), each) for each in contents))
