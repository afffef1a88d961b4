"""Fields of a configuration that others wrote: one table for each format says what each may hold.

A field is used, known to be without effect at the values that its rule takes, or refused by name.
Null is the same as absent. A field without a rule is left to the caller, to report it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sala_compile.runtime.common.json_text import is_list, is_object, json_kind, quoted
from sala_compile.runtime.errors import SalaError

NOTED = 40
"""Unknown fields that a note names."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What a field may hold, as a test and in words."""

    takes: Callable[[Any], bool]
    expected: str = "any value"


FieldRules = Mapping[str, FieldRule]
"""Name of a field -> its rule."""

USED = FieldRule(lambda value: True)
"""Read, and checked where it is read."""
NO_EFFECT = FieldRule(lambda value: True)
"""Without effect on inference, with any value."""
BOOLEAN = FieldRule(lambda value: isinstance(value, bool), "true or false")
TEXT = FieldRule(lambda value: isinstance(value, str), "a text")
OBJECT = FieldRule(lambda value: is_object(value), "an object")
OBJECTS = FieldRule(
    lambda value: is_object(value) and all(is_object(v) for v in value.values()),
    "an object of objects",
)
TEXTS = FieldRule(
    lambda value: is_list(value) and all(isinstance(item, str) for item in value),
    "a list of texts",
)


def only(*values: Any) -> FieldRule:
    """No effect at these values, or at null; texts in small or capital letters."""
    folded = [_folded(value) for value in values]
    listed = " or ".join(["null", *map(repr, values)])
    return FieldRule(lambda value: _folded(value) in folded, listed)


def one_of(*values: int | str) -> FieldRule:
    """Used, at these values; texts in small or capital letters."""
    folded = [_folded(value) for value in values]
    return FieldRule(lambda value: _folded(value) in folded, " or ".join(map(repr, values)))


def whole(minimum: int, maximum: int = 2**31 - 1, *also: int) -> FieldRule:
    """A whole number in a range, or one of `also`."""

    def takes(value: Any) -> bool:
        return type(value) is int and (minimum <= value <= maximum or value in also)

    others = "".join(f", or {value}" for value in also)
    return FieldRule(takes, f"a whole number from {minimum} to {maximum}{others}")


def check_fields(
    found: Any, rules: FieldRules, place: str, error: type[SalaError]
) -> tuple[str, ...]:
    """Refuse what no rule takes; the names that no rule is for."""
    if not is_object(found):
        raise error(f"there is {json_kind(found)}", where=place, expected="an object")
    for name, value in found.items():
        rule = rules.get(name)
        if rule is not None and value is not None and not rule.takes(value):
            raise error(
                f"{name} is {quoted(value)}",
                where=f"{place}: {name}",
                expected=rule.expected,
                fix="use a checkpoint that needs no other value, or correct the field",
            )
    return unknown_fields(found, rules)


def unknown_fields(found: Mapping[str, Any], rules: FieldRules) -> tuple[str, ...]:
    """The names that no rule is for; one that begins with _ is a library's own."""
    return tuple(name for name in found if name not in rules and not name.startswith("_"))


def unknown_note(names: tuple[str, ...], file: str) -> str:
    """The note that names unknown fields."""
    listed = ", ".join(
        name if name.replace(".", "_").isidentifier() else quoted(name) for name in names[:NOTED]
    )
    rest = f" and {len(names) - NOTED} more" if len(names) > NOTED else ""
    return f"fields of {file} that are not known here and not used: {listed}{rest}"


def _folded(value: Any) -> tuple[Any, Any]:
    """A value to compare: booleans are no numbers, 1 is 1.0, letters are small."""
    if isinstance(value, str):
        return str, value.lower()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float, value
    return cast("type", type(value)), value
