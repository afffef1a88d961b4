"""Hostile values: boundaries, what parsers stumble over, and what is nearly right."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.case import Literal

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
