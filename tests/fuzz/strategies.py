"""Hypothesis strategies: hostile values, edits of bytes, and of JSON by its structure."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.case import Edit, Literal, Place
from tests.fuzz.edits import at, changed_document

Draw = Callable[..., Any]

INTEGERS = (
    *(0, 1, -1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 65, 127, 128, 255, 256, 4095, 65535, 65536),
    *(2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30),
    *(-2, -64, -(2**31), -(2**31) - 1, -(2**63), -(10**30), 10**9, 10**6),
)
FLOATS = (
    *(0.5, -0.0, 1.0, 1e-45, 1e-310, 1e-7, 65504.0, 65520.0, 3.5e38, 1e308, -1e308, 1e22),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *(
        "",
        " ",
        "a",
        "0",
        "1",
        "32",
        "-1",
        "1e5",
        "nan",
        "null",
        "true",
        "default",
        "auto",
        "float32",
    ),
    *(
        "\u0000",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\ufffd",
        "\u202e",
        "e\u0301",
        "ß",
        "你好",
        "👩‍👩‍👧‍👦",
    ),
    *("../x", "/etc/passwd", "a/../../b", "a\\b", "\n", "%s%n", "{}", "{{ x }}", "<s>", "</s>"),
    *("(a+)+$", "(a|a)*b", "[", "(?P<", "\\", "x{1000000}", "(?:(?:a{1000}){1000}){1000}"),
)
LITERALS = (
    Literal("1", "0", 400),
    Literal("1", "0", 5_000),
    Literal("-1", "7", 100_000),
    Literal("1e999"),
    Literal("-1e999"),
    Literal("0.", "0", 5_000, tail="1"),
    Literal("1e", "9", 20),
    Literal("", "[", 500, "]"),
    Literal("", "[", 100_000, "]"),
    Literal("", "[", 200_000),
    Literal("", '{"a":[', 50_000, "]}"),
    Literal("", '{"a":[', 200, "]}"),
    Literal('"', "a", 300, tail='"'),
    Literal('"', "\u00e9", 1_000_000, tail='"'),
    Literal("[0", ",0", 200_000, tail="]"),
    Literal('{"":0', ',"k":1', 50_000, tail="}"),
    Literal("NaN"),
    Literal("undefined"),
    Literal("01"),
    Literal('"\\ud83d"'),
    Literal('"\t"'),
)
OTHERS = (None, True, False, [], {}, [None], [[]], {"": None}, {"a": {"a": []}}, [0, 1], ["a", 1])

ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(INTEGERS),
    st.sampled_from(FLOATS),
    st.sampled_from(TEXTS),
    st.sampled_from(OTHERS),
    st.sampled_from(LITERALS),
)
"""A value of any kind: boundaries, and what parsers stumble over."""


@st.composite
def near(draw: Draw, value: Any, words: Sequence[Any] = ()) -> Any:
    """A value of the kind of `value`, near it or at a boundary; at times one of `words`."""
    if words and draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(words))
    match value:
        case bool():
            return not value
        case int():
            steps = (value + 1, value - 1, -value, value * 2, value // 2, value * 1000, value << 20)
            return draw(st.sampled_from((*steps, float(value), str(value), *INTEGERS)))
        case float():
            scaled = (-value, value * 2, value * 1e30, value * 1e-30, value // 2.0)
            return draw(st.sampled_from((*scaled, str(value), *FLOATS)))
        case str():
            changed = (value + "x", value[:-1], value.upper(), value * 2, f" {value}", [value])
            return draw(st.sampled_from((*changed, *TEXTS)))
        case list():
            return draw(st.sampled_from(_lists(value)))
        case dict():
            return draw(st.sampled_from(({}, list(value), [value], {**value, "unknown": 1})))
    return draw(ANYTHING)


def _lists(value: list[Any]) -> tuple[Any, ...]:
    first = value[0] if value else 0
    changed = (value[1:], value[:-1], value[::-1], value * 2, [], [value], [*value, None])
    return (*changed, [*value, first], first, {str(i): v for i, v in enumerate(value[:50])})


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
