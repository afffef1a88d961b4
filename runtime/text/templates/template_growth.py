"""How large the result of an operation of a template gets, known before it is computed.

Only operations that multiply are here; the results of the others are about as large as what they
are made of.
"""

import re
import string
import sys
from collections.abc import Callable, Iterable
from typing import Any, cast

from sala_compile.runtime.text.templates.template_limits import (
    BITS,
    DEPTH,
    VALUE_BYTES,
    Budget,
    TemplateLimitError,
)

_WHITESPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u2028\u2029\u3000"
_PERCENT = re.compile(r"[%)][#\- +0]*+(\*|\d*+)(?:\.(\*|\d*+))?")
_WIDTH = 10_000
"""The widest field that arguments may request."""
_STEPS_OF_A_FIELD = 4
_LONGEST_NUMBER = 4300
_SHORT = 64
_COMPARISONS = 100_000_000
"""Comparisons of characters in one search for a longer text, which Python does slowly."""
_ESCAPED = 6
"""Characters that one becomes at most in the text of a list, in JSON or in HTML."""

Growth = Callable[..., None]


def operator_growth(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Check what `left operator right` makes."""
    if operator == "*":
        _product(budget, left, right)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _bits(left.bit_length() * max(right, 0))
    elif operator == "%" and isinstance(left, str | bytes):
        percent_growth(budget, left, right)
    elif operator == "+":
        budget.fits(budget.size(left) + budget.size(right))


def _product(budget: Budget, left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _bits(left.bit_length() + right.bit_length())
    elif isinstance(left, int) or isinstance(right, int):
        count, value = (left, right) if isinstance(left, int) else (right, left)
        each = 4 * len(value) if isinstance(value, str | bytes) else budget.size(value)
        budget.fits(max(count, 0) * each)


def _bits(bits: int) -> None:
    if bits > BITS:
        raise TemplateLimitError("it makes too large a number")


def percent_growth(budget: Budget, text: Any, values: Any, *more: Any, **named: Any) -> None:
    """Check what `text % values` makes."""
    if not isinstance(text, str):
        _escaped(budget, text)
        text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    everything = (values, *more, *named.values())
    size = sys.getsizeof(text) + text.count("%") * sum(map(budget.size, everything))
    for words in _PERCENT.findall(text):
        size += sum(_width(word, everything) for word in words if word)
    budget.fits(_ESCAPED * size)


def format_growth(budget: Budget, text: str, values: tuple[Any, ...]) -> None:
    """Check what `text.format(values)` makes."""
    size, every = sys.getsizeof(text), sum(map(budget.size, values))
    for _, name, spec, _ in string.Formatter().parse(text):
        budget.step(_STEPS_OF_A_FIELD)
        size += every if name is not None else 0
        if spec:
            words = re.findall(r"\d+", spec) + (["*"] if "{" in spec else [])
            size += sum(_width(word, values) for word in words)
    budget.fits(_ESCAPED * size)


def _width(word: str, values: Any) -> int:
    """The width that a format requests, by itself or (`*`) by a number among the values."""
    if word != "*":
        return int(word) if len(word) < 10 else sys.maxsize
    return _WIDTH if _all_narrow(values) else sys.maxsize


def _all_narrow(values: Any) -> bool:
    if isinstance(values, dict):
        values = (*values.values(),)
    if isinstance(values, list | tuple):
        return all(_all_narrow(value) for value in cast("Iterable[Any]", values))
    if isinstance(values, str):
        return not values.strip().isdecimal() or len(values) < 5
    return not isinstance(values, int) or abs(values) <= _WIDTH


def _padded(budget: Budget, text: Any, width: Any = 0, *_: Any) -> None:
    budget.fits(4 * _count(width) + budget.size(text))


def _count(number: Any) -> int:
    return max(number, 0) if isinstance(number, int) else 0


def _replaced(budget: Budget, text: Any, old: Any, new: Any, *_: Any, **__: Any) -> None:
    count = str(text).count(str(old))
    budget.fits(sys.getsizeof(text) + count * sys.getsizeof(str(new)))


def _joined(budget: Budget, separator: Any, parts: Any) -> None:
    if hasattr(parts, "__len__"):
        budget.fits(budget.size(parts) + len(parts) * budget.size(separator))


def _split(budget: Budget, text: str, separator: str | None = None, limit: int = -1) -> None:
    if separator is None:
        count = sum(map(text.count, _WHITESPACE))
    else:
        count = text.count(separator) if separator else 0
    count = count if limit < 0 else min(count, limit)
    budget.fits(sys.getsizeof(text) + (count + 1) * VALUE_BYTES)


def _split_backwards(
    budget: Budget, text: str, separator: str | None = None, limit: int = -1
) -> None:
    _split(budget, text, separator, limit)
    _sought(budget, text, separator)


def _sought(budget: Budget, text: Any, pattern: Any = None, *_: Any, **named: Any) -> None:
    """Searches that compare each character of a text with each of a pattern, at worst."""
    size = max(len(each) for each in ("", pattern, *named.values()) if isinstance(each, str))
    if size > _SHORT and size * len(str(text)) > _COMPARISONS:
        raise TemplateLimitError("it searches long texts for long texts")


def _split_lines(budget: Budget, text: str, *_: Any, **__: Any) -> None:
    _split(budget, text)


def _tabs(budget: Budget, text: str, tabsize: Any = 8) -> None:
    budget.fits(sys.getsizeof(text) + text.count("\t") * _count(tabsize))


def _indented(budget: Budget, text: Any, width: Any = 4, *_: Any, **__: Any) -> None:
    each = sys.getsizeof(width) if isinstance(width, str) else _count(width)
    budget.fits(budget.size(text) + (str(text).count("\n") + 2) * each)


def _as_json(
    budget: Budget,
    value: Any,
    ensure_ascii: Any = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: Any = False,
) -> None:
    size = budget.size(value)
    margin = budget.depth(value) * (len(indent) if isinstance(indent, str) else _count(indent))
    between = 0 if separators is None else budget.size(separators)
    budget.fits(_ESCAPED * size + size // VALUE_BYTES * (margin + between))


def _listed(budget: Budget, value: Any) -> None:
    if isinstance(value, str | bytes):
        budget.fits(len(value) * VALUE_BYTES)


def _summed(budget: Budget, values: Any, attribute: Any = None, start: Any = 0) -> None:
    if not isinstance(start, int | float):
        raise TemplateLimitError("it sums what are no numbers")


def _filled(budget: Budget, value: Any, *counts: Any, **named: Any) -> None:
    budget.fits(sum(map(_count, (*counts, *named.values()))) * VALUE_BYTES)


def _rounded(budget: Budget, value: Any, precision: Any = 0, *_: Any, **__: Any) -> None:
    if _count(precision) > DEPTH:
        raise TemplateLimitError("it rounds to too many digits")


def _number(budget: Budget, value: Any, *_: Any, **__: Any) -> None:
    if isinstance(value, str | bytes) and len(value) > _LONGEST_NUMBER:
        raise TemplateLimitError("it makes too large a number")


def _escaped(budget: Budget, value: Any, *_: Any, **__: Any) -> None:
    budget.fits(_ESCAPED * budget.size(value))


def _taken_apart(budget: Budget, value: Any, *_: Any, **__: Any) -> None:
    if isinstance(value, str):
        budget.fits(len(value) * VALUE_BYTES)
    else:
        _escaped(budget, value)


def _same(budget: Budget, *_: Any, **__: Any) -> None:
    """The result is about as large as its operands."""


def _named(names: str, growth: Growth) -> dict[str, Growth]:
    return dict.fromkeys(names.split(), growth)


def _joined_filter(budget: Budget, values: Any, separator: Any = "", *_: Any, **__: Any) -> None:
    """Check what the filter `join` makes of a list."""
    _joined(budget, separator, values)


METHODS: dict[type, dict[str, Growth]] = {
    str: _named(
        "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit "
        "isidentifier islower isnumeric isprintable isspace istitle isupper lower partition "
        "removeprefix removesuffix startswith swapcase title upper",
        _same,
    )
    | _named("rfind rindex rpartition strip lstrip rstrip", _sought)
    | _named("center ljust rjust zfill", _padded)
    | {"split": _split, "rsplit": _split_backwards}
    | {"splitlines": _split_lines, "replace": _replaced, "join": _joined, "expandtabs": _tabs},
    list: _named("count index copy", _same),
    tuple: _named("count index", _same),
    dict: _named("get items keys values copy", _same),
    int: _named("bit_length conjugate", _same),
    float: _named("is_integer conjugate", _same),
    range: _named("count index", _same),
    bytes: {},
    set: {},
    frozenset: {},
}
"""The methods of plain values that a template may call."""

FILTERS: dict[str, Growth] = (
    _named(
        "abs attr capitalize count d default dictsort filesizeformat first float groupby items "
        "last length lower map max min random reject rejectattr reverse safe select selectattr "
        "sort truncate unique upper",
        _same,
    )
    | {"trim": _sought}
    | _named("e escape forceescape string", _escaped)
    | _named("title urlencode wordcount", _taken_apart)
    | _named("batch slice", _filled)
    | {"center": _padded, "format": percent_growth, "indent": _indented, "int": _number}
    | {"join": _joined_filter}
    | {"list": _listed, "replace": _replaced, "round": _rounded, "sum": _summed, "tojson": _as_json}
)
"""The filters that a template may use; those that write HTML are left out."""


def method_growth(budget: Budget, method: Any, arguments: tuple[Any, ...], named: Any) -> None:
    """Check what a method of a plain value makes; TemplateLimitError for one that is not known."""
    owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    for kind, methods in METHODS.items():
        if isinstance(owner, kind):
            if name not in methods:
                raise TemplateLimitError(
                    f"the method {name} of {kind.__name__} is not for templates"
                )
            methods[name](budget, owner, *arguments, **named)
            return
