"""Sizes as people write them."""

import pytest

from sala_compile.runtime.common.units import format_bytes, format_tokens, parse_bytes, parse_tokens
from sala_compile.runtime.errors import RequestError


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("1", 1), ("4096", 4096), ("1K", 1024), ("32k", 32768), ("1M", 1 << 20), ("0.5M", 1 << 19)],
)
def test_tokens(text: str, tokens: int):
    assert parse_tokens(text) == tokens
    assert parse_tokens(format_tokens(tokens)) == tokens


@pytest.mark.parametrize(
    ("text", "size"),
    [("17", 17), ("8GiB", 8 << 30), ("8 G", 8 << 30), ("8GB", 8 * 10**9), ("1.5MiB", 3 << 19)],
)
def test_bytes(text: str, size: int):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "K", "0", "-1", "1G", "1e3", "1.3", "1 2", "many"])
def test_no_number_of_tokens(text: str):
    with pytest.raises(RequestError, match="number of tokens"):
        parse_tokens(text)


@pytest.mark.parametrize("text", ["", "GiB", "0", "-1", "8X", "nan", "0.3"])
def test_no_amount_of_memory(text: str):
    with pytest.raises(RequestError, match="amount of memory"):
        parse_bytes(text)


def test_bytes_read_well():
    assert format_bytes(0) == "0 B"
    assert format_bytes(1023) == "1023 B"
    assert format_bytes(1536) == "1.50 KiB"
    assert format_bytes(3 << 40) == "3.00 TiB"


@pytest.mark.parametrize("parse", [parse_tokens, parse_bytes])
@pytest.mark.parametrize("kind", ["digits", "integer", "fraction"])
def test_numbers_of_thousands_of_digits(parse, kind: str):
    size = {"digits": "9" * 5000, "integer": 10**5000, "fraction": "9" * 400 + ".5"}[kind]
    with pytest.raises(RequestError) as caught:
        parse(size)
    assert len(str(caught.value)) < 300
