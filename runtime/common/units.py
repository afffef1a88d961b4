"""Sizes as people write them: tokens in powers of two, memory in bytes."""

import re
from collections.abc import Callable

import numpy as np

from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import RequestError

_TOKEN_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
_BYTE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DECIMAL_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LONGEST = 40
"""Characters of a size: no machine has sizes of longer numbers."""
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def is_whole(value: object) -> bool:
    """Whether `value` is an integer, Python's or NumPy's; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def parse_tokens(text: str | int) -> int:
    """The number of tokens that `text` names: 1K is 1024, 1M is 2^20."""
    value = _scaled(_text(text), _TOKEN_UNITS, str.upper)
    if value is None or value < 1:
        raise RequestError(
            f"{quoted(text)} is not a number of tokens",
            expected="a whole number such as 4096, 32K or 1M",
        )
    return value


def parse_bytes(text: str | int) -> int:
    """The number of bytes that `text` names: 8GiB and 8G are 8 * 2^30, 8GB is 8 * 10^9."""
    units = _BYTE_UNITS | _DECIMAL_UNITS
    value = _scaled(_text(text), units, _decimal)
    if value is None or value < 1:
        raise RequestError(
            f"{quoted(text)} is not an amount of memory", expected="for example 512MiB or 8GiB"
        )
    return value


def _text(size: str | int) -> str:
    return size if isinstance(size, str) else quoted(size)


def _decimal(unit: str) -> str:
    return unit.upper().replace("IB", "")


def _scaled(text: str, units: dict[str, int], canonical: Callable[[str], str]) -> int | None:
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST else None
    unit = canonical(match[2]) if match else None
    if match is None or unit not in units:
        return None
    value = float(match[1]) * units[unit] if "." in match[1] else int(match[1]) * units[unit]
    return int(value) if value == int(value) else None


def format_bytes(size: int | float) -> str:
    """`size` bytes in the largest binary unit below it, three or four digits."""
    value, units = float(size), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if abs(value) < 1024 or unit == units[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def format_tokens(count: int) -> str:
    """`count` tokens, with K or M where that is exact."""
    for unit, size in (("M", 1 << 20), ("K", 1 << 10)):
        if count >= size and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)
