"""The one reader of JSON that others wrote: strict, within limits, one error for what is wrong.

Memory and time follow from the limits, not from the text: a document within them takes at most
about 150 bytes for each of its values, besides its text.
"""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from sala_compile.runtime.common.git_lfs import refuse_pointer
from sala_compile.runtime.errors import ConfigError, SalaError

NUMBER_LENGTH = 100
"""Characters of a number."""
QUOTED = 80
"""Characters of a value that a message quotes."""
MESSAGE = 400
"""Characters of a message that quotes from a file."""
_DIGITS = bytes(48 if byte in b"0123456789+-.eE" else 32 for byte in range(256))
"""Makes one character of all that numbers are spelt with."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """`size` in bytes; `depth` of nested lists and objects; `values`, all of them together."""

    size: int = 16 << 20
    depth: int = 64
    values: int = 1_000_000


LIMITS = JsonLimits()
"""Enough for any configuration, index or header of a real model."""


class _Refused(ValueError):
    """A text that Python's own reader would accept."""


def parse_json(
    data: bytes | str,
    where: str,
    error: type[SalaError] = ConfigError,
    *,
    fix: str = "correct the file, or download it again",
    limits: JsonLimits = LIMITS,
) -> Any:
    """The document that `data`, UTF-8 with or without a byte order mark, spells.

    Raises `error` at `where` for what is no JSON, NaN and infinity among it, for a name that
    an object has twice, halves of surrogate pairs, a Git LFS pointer, and what passes the limits.
    """

    def refuse(found: str, expected: str) -> NoReturn:
        raise error(found, where=where, expected=expected, fix=fix) from None

    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    refuse_pointer(raw, where, error)
    if len(raw) > limits.size:
        refuse(f"the JSON has {len(raw)} bytes", f"{limits.size} at most")
    values = 1 + sum(raw.count(mark) for mark in (b",", b"[", b"{"))
    if values > limits.values:
        refuse(f"the JSON has {values} values", f"{limits.values} at most")
    try:
        # Python's own reader of integers is much faster: ours only where one may be too long.
        long_numbers = b"0" * (NUMBER_LENGTH + 1) in raw.translate(_DIGITS)
        document = _load(raw.decode("utf-8-sig"), limits.depth, long_numbers=long_numbers)
    except UnicodeDecodeError as problem:
        refuse(f"the file is not JSON: not UTF-8 at byte {problem.start}", "JSON in UTF-8")
    except RecursionError:
        refuse("the JSON is nested too deeply", f"{limits.depth} levels at most")
    except _Refused as problem:
        refuse(f"the JSON {problem}", "plain JSON")
    except ValueError as problem:
        refuse(f"the file is not JSON: {problem}", "JSON")
    return document


def parse_object(
    data: bytes | str,
    where: str,
    error: type[SalaError] = ConfigError,
    *,
    fix: str = "correct the file, or download it again",
    limits: JsonLimits = LIMITS,
) -> dict[str, Any]:
    """The same as `parse_json` for a document that must be one object."""
    found = parse_json(data, where, error, fix=fix, limits=limits)
    if not is_object(found):
        raise error(
            f"the file holds {json_kind(found)}", where=where, expected="one JSON object", fix=fix
        )
    return found


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether a JSON value is a list."""
    return isinstance(value, list)


def json_kind(value: Any) -> str:
    """The kind of a JSON value in words: "a list", "null"."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    kinds = ((str, "a text"), (list, "a list"), (dict, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def quoted(value: Any) -> str:
    """A value as a message shows it: its repr, shortened, or its kind if that fails."""
    if isinstance(value, int) and value.bit_length() > 4 * QUOTED:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # an integer too long to print is inside, deep lists, or a repr that fails
        is_json = isinstance(value, list | dict)
        return json_kind(value) if is_json else f"a value of type {type(value).__name__}"
    return text if len(text) <= QUOTED else f"{text[: QUOTED - 4]} ..."


def shortened(text: str) -> str:
    """A message that names what a file holds, which may be very long."""
    return text if len(text) <= MESSAGE else f"{text[: MESSAGE - 4]} ..."


def _load(text: str, depth: int, *, long_numbers: bool) -> Any:
    document = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_int=_integer if long_numbers else None,
        parse_float=_real,
        parse_constant=_constant,
    )
    _check_depth(document, depth)
    if _SURROGATE.search(text):
        _check_surrogates(document)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _Refused(f"has {quoted(counts.most_common(1)[0][0])} twice in one object")
    return found


def _integer(text: str) -> int:
    _check_length(text)
    return int(text)


def _real(text: str) -> float:
    _check_length(text)
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"has {text}, which no float holds")
    return value


def _check_length(text: str) -> None:
    if len(text) > NUMBER_LENGTH:
        raise _Refused(f"has a number of {len(text)} characters")


def _constant(text: str) -> NoReturn:
    raise _Refused(f"has {text}, which is no JSON number")


def _check_depth(document: Any, limit: int) -> None:
    level = [document]
    for _ in range(limit):
        level = [
            child
            for value in level
            if isinstance(value, list | dict)
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, list | dict)
        ]
        if not level:
            return
    raise _Refused(f"is nested more than {limit} levels deep")


def _check_surrogates(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Refused("has half of a surrogate pair") from None
