"""Text from bytes: byte order marks of all kinds, and what is no text."""

import codecs

import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizers.unicode_text import decode_text

TEXT = "Caf\u00e9 \u4f60 \U0001f600\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
)
def test_the_mark_is_no_part_of_the_text(data: bytes):
    assert decode_text(data, "the prompt", "file") == TEXT


def test_only_the_first_mark_goes():
    data = codecs.BOM_UTF8 * 2 + b"a" + codecs.BOM_UTF8
    assert decode_text(data, "the prompt", "file") == "\ufeffa\ufeff"
    assert decode_text(codecs.BOM_UTF8, "the prompt", "file") == ""
    assert decode_text(b"", "the prompt", "file") == ""
    assert decode_text(b"ab\0cd", "the prompt", "file") == "ab\0cd"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"caf\xe9", "not UTF-8: unexpected end of data at byte 3"),
        (codecs.BOM_UTF8 + b"\xff", "not UTF-8: invalid start byte at byte 3"),
        (codecs.BOM_UTF16_LE + b"a", "not UTF-16: truncated data at byte 2"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a\x00", "not UTF-16: illegal"),
        ("prompt".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("prompt".encode("utf-16-be"), "UTF-16 without a byte order mark"),
    ],
)
def test_what_is_no_text_is_refused_by_name(data: bytes, found: str):
    with pytest.raises(RequestError, match=found) as caught:
        decode_text(data, "the prompt", "file")
    assert "in       file" in str(caught.value)
    assert "UTF-8" in str(caught.value.expected)
