"""Checks of callers' arguments by kind, before anything is done with them."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np

from sala_compile.runtime.common.json_text import QUOTED, quoted
from sala_compile.runtime.common.units import is_whole
from sala_compile.runtime.errors import RequestError


def as_number(value: Any) -> float | None:
    """The float of a number; None for anything else, True and NaN included."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(cast("float", value))
    except OverflowError:
        return None
    return None if math.isnan(number) else number


def checked_number(name: str, value: object, least: float, most: float, expected: str) -> float:
    """A finite number from `least` to `most`; RequestError for anything else."""
    number = as_number(value)
    if number is None or not least <= number <= most or math.isinf(number):
        raise refusal(name, value, expected)
    return number


def checked_whole(name: str, value: object, least: int, expected: str) -> int:
    """A whole number from `least`; RequestError for anything else."""
    if not is_whole(value) or int(value) < least:  # type: ignore[call-overload]
        raise refusal(name, value, expected)
    return int(value)  # type: ignore[call-overload]


def checked_size(name: str, value: object) -> str | int:
    """A size as people write it, or a number, short enough to be one; RequestError for others."""
    short = isinstance(value, str) and len(value) <= QUOTED
    if not short and (not is_whole(value) or abs(int(value)) >> 64):  # type: ignore[call-overload]
        raise refusal(name, value, "a size such as 4096, 32K or 8GiB")
    return value  # type: ignore[return-value]


def checked_flag(name: str, value: Any) -> bool:
    """True or False; RequestError for anything else."""
    if not isinstance(value, bool | np.bool_):
        raise refusal(name, value, "True or False")
    return bool(cast("object", value))


def checked_path(name: str, value: Any) -> Path:
    """A path of a file or directory; RequestError for anything else."""
    if not isinstance(value, str | os.PathLike):
        raise refusal(name, value, "a path, as text or pathlib.Path")
    path = cast("str | bytes", os.fspath(value))
    if not isinstance(path, str) or not path or "\0" in path:
        raise refusal(name, path, "a path, as text of at least one character without NUL")
    return Path(path)


def checked_text(name: str, value: object, expected: str) -> None:
    """Refuse what is not text, unless it is None."""
    if value is not None and not isinstance(value, str):
        raise refusal(name, value, expected)


def checked_texts(name: str, texts: Any) -> tuple[str, ...]:
    """Several texts, or none for None; RequestError for one text and for anything else."""
    if texts is None:
        return ()
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise refusal(name, texts, "a list of texts")
    found = tuple(cast("Iterable[Any]", texts))
    for text in found:
        checked_text(name, text or 0, "a list of texts")
    return found


def checked_call(name: str, value: object) -> None:
    """Refuse what cannot be called, unless it is None."""
    if value is not None and not callable(value):
        raise refusal(name, value, "a function")


def refusal(name: str, value: object, expected: str) -> RequestError:
    """The refusal of an option's value."""
    return RequestError(f"{name} is {quoted(value)}", where=f"option {name}", expected=expected)
